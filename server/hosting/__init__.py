"""The coordinator's programs: Flower's SuperLink and superexec, the signed bundle, and what stands before them."""
