"""How tensors are written for the wire: codings and their exactness, digests of groups, what was lost in rounding."""
