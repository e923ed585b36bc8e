"""What the journal of one run says, for whoever watches it: looked into, never written, never waited for."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.settings.stages import Stage
from server.journal import Journal, copies
from server.journal.journal import FILE
from server.result import SiteFault

Stamp = tuple[int, ...]


@dataclass(frozen=True)
class Journalled:
    """What a journal said when it was last written."""

    asked_to_pause: bool
    asked_to_stop: bool
    ended: dict[str, Any] | None
    planned: Mapping[Stage, int]
    records: Mapping[Stage, list[dict[str, Any]]]
    open_round: tuple[Stage, int, int] | None
    deadline_s: float | None
    sites: tuple[str, ...]
    withdrawn: frozenset[str]
    faults: tuple[SiteFault, ...]

    @property
    def all_records(self) -> list[dict[str, Any]]:
        """The records of all rounds that count, stage after stage."""
        return [record for of_stage in self.records.values() for record in of_stage]


def read_journal(out: Path) -> Journalled:
    """Read the journal of the run in `out`. Raises GliofedError where it is damaged."""
    with Journal.look_into(out) as journal:
        study, asked, current = journal.study, journal.requests.asked(), journal.open_round()
        settings = {stage: study.stages.of(stage) for stage in study.stages.present}
        return Journalled(
            asked_to_pause=asked.paused,
            asked_to_stop=asked.stopped,
            ended=journal.ended(),
            planned={stage: each.rounds for stage, each in settings.items() if each is not None},
            records={stage: journal.records(stage) for stage in settings},
            open_round=None if current is None else (current[0], current[1], len(current[2])),
            deadline_s=None if current is None else study.deadline_s(current[0]),
            sites=tuple(sorted(study.sites)),
            withdrawn=journal.requests.withdrawn_sites(),
            faults=tuple(fault for fault, _ in journal.noted_faults()),
        )


def has_begun(out: Path) -> bool:
    """Say whether a run has tables to look into: before the copy of its study is there, even to look is to write."""
    return (out / FILE).is_file() and (out / copies.STUDY).is_file()


def stamp_of(out: Path) -> Stamp:
    """Return what changes whenever the journal is written."""
    stamp: list[int] = []
    for path in (out / FILE, out / f"{FILE}-wal"):
        try:
            facts = path.stat()
        except FileNotFoundError:
            stamp += (0, 0)
        else:
            stamp += (facts.st_mtime_ns, facts.st_size)
    return tuple(stamp)


def last_written(out: Path, found: Journalled) -> float:
    """Return when the last round began to count, else when the plan was frozen, by the copies' times."""
    ends = [copies.round_folder(out, Stage(each["stage"]), each["round"]) / copies.RECORD for each in found.all_records]
    times = [path.stat().st_mtime for path in (out / copies.PLAN, *ends[-1:]) if path.is_file()]
    return max(times, default=time.time())
