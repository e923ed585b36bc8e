"""What a coordinator is watched by: figures and health on the loopback address, read off the disk."""
