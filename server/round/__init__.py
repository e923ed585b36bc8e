"""The rounds of a stage: whom one asks, what goes out and comes in, when it counts, what it leaves behind."""
