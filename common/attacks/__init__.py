"""What attacks on a release find, as pure numbers: how well they guess, how sure that is, how near a picture lies."""
