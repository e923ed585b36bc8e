"""What can go wrong, done on purpose: faults of a real deployment, crashes at every boundary, many sites."""
