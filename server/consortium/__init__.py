"""The coordinator's folder: who was admitted, with which certificates and under whose signature."""
