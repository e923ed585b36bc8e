"""Programs that are started, watched and ended: what a deployment is made of at both ends."""
