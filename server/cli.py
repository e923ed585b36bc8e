"""`gliofed-server`: what a coordinator runs. `check` changes nothing and comes first.

Exit codes: 0 done; 2 the command line or the study is wrong; 4 the release is damaged; 6 the run is over, or nobody
drives it.
"""

from __future__ import annotations

import sys
from types import ModuleType

from common import console
from server.commands import console as web_console
from server.commands import consortium, coordination, hosting, plan, release, steering, study, tracking

PROGRAM = "gliofed-server"

app = console.new_app(
    "Check studies, verify releases, and coordinate a federation. No scan is ever here.", f"{PROGRAM} check study.toml"
)

TOPICS: tuple[ModuleType, ...] = (
    *(study, consortium, hosting, plan),
    *(coordination, steering, release),
    *(tracking, web_console),
)
"""Modules of `server/commands`, each of which registers the verbs of one topic, in the order that `--help` lists: what
comes before a run, runs and what they leave behind, and the screens."""

for topic in TOPICS:
    topic.register(app)


def main() -> None:
    """Entry point of `gliofed-server`."""
    sys.exit(console.run(app, PROGRAM))


if __name__ == "__main__":
    main()
