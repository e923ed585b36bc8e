"""What `make chaos` found, as `results.json` and as the tables of `docs/evidence/chaos.md`."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from common.files import write_whole
from simulations.chaos.crashes import Crash
from simulations.chaos.crowd import Crowd
from simulations.chaos.trial import FaultRow


@dataclass
class Results:
    """All that was found so far.

    Attributes:
        faults: of the real deployment, in the order in which they struck.
        crashes: points at which the federation was killed.
        crowds: what the coordinator costs by the number of sites.
        seconds: what each part took.
        problems: what was not as it must be.
    """

    faults: list[FaultRow] = field(default_factory=list)
    crashes: list[Crash] = field(default_factory=list)
    crowds: list[Crowd] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def write(self, folder: Path) -> None:
        """Write `results.json` and `chaos.md` into `folder`."""
        write_whole(folder / "results.json", (json.dumps(asdict(self), indent=1) + "\n").encode())
        write_whole(folder / "chaos.md", self.page().encode())

    def page(self) -> str:
        """Return the tables as Markdown."""
        date = f"{datetime.now(UTC):%Y-%m-%d}"
        where = f"{date}, {os.cpu_count()} cores, Python {platform.python_version()}"
        parts = [f"# Chaos\n\nMeasured {where} by `make chaos`, {sum(self.seconds.values()) / 60:.1f} minutes.\n"]
        if self.faults:
            parts.append("## Faults of a real deployment\n\n" + self._fault_table())
        if self.crashes:
            parts.append("## Crashes at every boundary\n\n" + self._crash_table())
        if self.crowds:
            parts.append("## Many sites\n\n" + crowd_table(self.crowds))
        parts.append("## Problems\n\n" + ("".join(f"- {text}\n" for text in self.problems) or "None.\n"))
        return "\n".join(parts)

    def _fault_table(self) -> str:
        rows = [
            (row.fault, row.done, row.ended, str(row.lost), f"{row.seconds:.0f}" if row.seconds else "", row.restarts)
            for row in self.faults
        ]
        return table(("fault", "what was done", "how it went on", "rounds lost", "seconds", "restarts"), rows)

    def _crash_table(self) -> str:
        kinds: dict[str, list[Crash]] = {}
        for crash in self.crashes:
            kinds.setdefault(" ".join(crash.name.split()[:2]), []).append(crash)
        kinds["all"] = self.crashes
        rows = [
            (
                kind,
                len(crashes),
                sum(not crash.problem for crash in crashes),
                sum(crash.repeated for crash in crashes),
            )
            for kind, crashes in kinds.items()
        ]
        return table(("killed", "points", "same bytes after", "trainings repeated"), rows)


def crowd_table(crowds: Sequence[Crowd]) -> str:
    """Return what the coordinator costs by the number of sites."""
    rows = [
        (
            crowd.sites,
            crowd.rounds,
            f"{crowd.update_mb:.1f}",
            f"{crowd.peak_mb:.0f}",
            f"{crowd.seconds:.0f}",
            f"{crowd.seconds / crowd.sites / crowd.rounds:.2f}",
        )
        for crowd in crowds
    ]
    return table(("sites", "rounds", "MB an update", "peak MB", "seconds", "seconds a site and round"), rows)


def table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a Markdown table."""
    lines = [columns, ["---"] * len(columns), *([str(cell) for cell in row] for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)
