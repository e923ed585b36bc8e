"""The verbs of `gliofed-sim`, a module a topic; each adds its own with `register(app)`."""
