"""What the sites say of a release: declared names, counted findings, and what the coordinator makes of them."""
