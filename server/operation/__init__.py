"""What people at the coordinator do to runs from outside: start, watch, pause, stop, submit again."""
