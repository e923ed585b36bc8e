"""Phantom hospitals: synthetic anatomy, gliomas and scanners. Synthetic data, never a clinical claim."""
