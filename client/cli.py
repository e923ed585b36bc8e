"""`gliofed-client`: what a hospital runs. `check` changes nothing and comes first.

Exit codes: 0 done; 2 the command line, site.toml or the study is wrong; 3 scans are wrong; 4 the release is damaged
or does not fit; 5 the site does not allow it; 130 interrupted.
"""

from __future__ import annotations

import sys
from types import ModuleType

from client.commands import audit, completion, consent, dicom, doctor, enrolment, node, patients, preparation, scans
from common import console

PROGRAM = "gliofed-client"

app = console.new_app(
    "Look at, check, prepare and complete one hospital's brain-tumour MRI. Scans are read, never written to.",
    f"{PROGRAM} check ./scans",
)

TOPICS: tuple[ModuleType, ...] = (
    *(scans, dicom, preparation, completion),
    *(enrolment, doctor, consent, node),
    *(patients, audit),
)
"""Modules of `client/commands`, each of which registers the verbs of one topic, in the order that `--help` lists: what
one does with scans alone, what one does to take part, and what became of it."""

for topic in TOPICS:
    topic.register(app)


def main() -> None:
    """Entry point of `gliofed-client`."""
    sys.exit(console.run(app, PROGRAM))


if __name__ == "__main__":
    main()
