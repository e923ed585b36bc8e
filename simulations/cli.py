"""`gliofed-sim`: a whole consortium on one machine, for anyone without data and for methods research.

Exit codes: 0 done, targets met or not (missed ones are printed and stand in the report); 2 the command line or the
study is wrong; 3 scans are wrong; 4 a release or checkpoint is damaged; 6 a run did not reach its quorum; 130
interrupted, run again with --resume.
"""

from __future__ import annotations

import sys
from types import ModuleType

from common import console
from simulations.commands import bench, phantom, research, run

PROGRAM = "gliofed-sim"

app = console.new_app(
    "Train, complete and measure a whole consortium on one machine, on phantoms or on folders of real scans.",
    f"{PROGRAM} run simulations/scenarios/three-hospitals.toml --out demo",
)

TOPICS: tuple[ModuleType, ...] = (run, phantom, research, bench)
"""Modules of `simulations/commands`, each of which registers the verbs of one topic, in the order of `--help`."""

for topic in TOPICS:
    topic.register(app)


def main() -> None:
    """Entry point of `gliofed-sim`."""
    sys.exit(console.run(app, PROGRAM))
