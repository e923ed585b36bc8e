"""`gliofed-client doctor`: everything that can keep a site from its first round, found before a night is lost.

One file in `topics` for each kind of check, a check a function from the site's surroundings to a finding.
"""
