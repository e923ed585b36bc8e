"""The verbs of `gliofed-server`, a module a topic; each adds its own with `register(app)`."""
