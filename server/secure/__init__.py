"""Secure aggregation at the coordinator: the phases of one round, and the one sum that it learns."""
