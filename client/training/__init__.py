"""Local training: one short loop, and one step file for each model family."""
