"""The verbs of `gliofed-client`, a module a topic; each adds its own with `register(app)`."""
