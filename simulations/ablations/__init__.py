"""Ablations: the same phantoms and steps with one part of a method left out, several seeds, as a table."""
