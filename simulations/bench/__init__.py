"""`gliofed-sim bench`: what each model costs in a training step and in inference, in one process a measurement."""
