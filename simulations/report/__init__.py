"""The report of a run: one JSON summary and one self-contained page."""
