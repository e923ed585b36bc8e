"""Attacks that a hospital cannot play by itself, played on phantoms: shadow models, and the inversion of an update."""
