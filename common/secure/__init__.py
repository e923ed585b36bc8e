"""Secure aggregation: the mathematics that sites and coordinator share. Nothing here does input or output."""
