"""The coordinator's programs: SuperLink, executor and guard, the signed bundle, and what stands before them."""
