"""What a site approves: the signed plan of a study, with everything that may leave under it."""
