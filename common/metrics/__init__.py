"""Metrics with written policies for empty masks, ties and single-class cohorts."""
