"""Single-volume image operations."""
