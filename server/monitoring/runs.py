"""What the journals of a consortium's runs say, as figures. They are looked into, never written, never waited for."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.errors import GliofedError
from common.logs import logger
from common.monitoring.metric import Metric, Sample
from common.records import OK
from common.settings.stages import Stage
from server.alarms import RULES
from server.journal import Journal, copies
from server.journal.journal import FILE, LOCK
from server.journal.lease import Lease
from server.monitoring import metrics
from server.result import COMPLETE, FAILED, INCOMPLETE, SiteFault
from server.steering import state_of

log = logger(__name__)

RUNNING, DAMAGED = "running", "damaged"
STATES = (RUNNING, "paused", "stopping", "interrupted", COMPLETE, INCOMPLETE, FAILED, DAMAGED)
REFUSALS = frozenset(
    {
        *("replayed", "foreign-group", "not-finite", "wrong-site", "malformed", "malformed-assessment", "large-norm"),
        *(
            "missing-tensor",
            "unknown-tensor",
            "wrong-coding",
            "wrong-dtype",
            "wrong-groups",
            "wrong-shape",
            "wrong-size",
        ),
        *("unknown-signer", "false-share", "other-attempt", "other-model", "out-of-range"),
    }
)
"""Codes with which an answer that came in is turned away; with every other code a site was not there, or said no."""

Stamp = tuple[int, ...]


@dataclass(frozen=True)
class _Journalled:
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


class Runs:
    """The runs below a folder. A journal is read again only once it has changed; nothing of it is written."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._known: dict[str, tuple[Stamp, _Journalled | None]] = {}
        self._stood_still: dict[str, float] = {}

    def samples(self) -> Iterator[Sample]:
        """Yield the figures of every run that has begun."""
        for out in sorted(self.folder.iterdir()) if self.folder.is_dir() else ():
            # The copy of the study is written once the journal has its tables: before that, even to look is to write.
            if (out / FILE).is_file() and (out / copies.STUDY).is_file():
                yield from self._run(out)

    def _run(self, out: Path) -> Iterator[Sample]:
        found = self._journalled(out)
        state = DAMAGED
        if found is not None:
            state = state_of(Lease.is_taken(out / LOCK), found.asked_to_pause, found.asked_to_stop, found.ended)
        if state != RUNNING:
            self._stood_still[out.name] = time.time()
        for each in STATES:
            yield metrics.RUN_STATE.is_(each == state, out.name, each)
        yield metrics.JOURNAL_BYTES.is_(_size(out / "journal"), out.name)
        if found is not None:
            yield from _rounds(out.name, found)
            yield from _sites(out.name, found)
            if found.open_round is not None and state == RUNNING:
                yield from self._open_round(out, found)

    def _open_round(self, out: Path, found: _Journalled) -> Iterator[Sample]:
        assert found.open_round is not None and found.deadline_s is not None, "looked at by the caller"  # noqa: S101
        stage, number, updates = found.open_round
        began = max(_last_written(out, found), self._stood_still.get(out.name, 0.0))
        yield metrics.OPEN_ROUND.is_(number, out.name, stage)
        yield metrics.OPEN_AGE.is_(max(0.0, time.time() - began), out.name, stage)
        yield metrics.OPEN_DEADLINE.is_(found.deadline_s, out.name, stage)
        yield metrics.OPEN_UPDATES.is_(updates, out.name, stage)

    def _journalled(self, out: Path) -> _Journalled | None:
        """Return what the run's journal says; None where it cannot be read."""
        stamp = _stamp(out)
        before = self._known.get(out.name)
        if before is not None and before[0] == stamp:
            return before[1]
        try:
            found: _Journalled | None = _read(out)
        except GliofedError as error:
            log.warning("%s cannot be watched: %s", out.name, error)
            found = None
        self._known[out.name] = (stamp, found)  # the stamp from before reading: what came meanwhile is read next time
        return found


def _read(out: Path) -> _Journalled:
    with Journal.look_into(out) as journal:
        study, asked, current = journal.study, journal.requests.asked(), journal.open_round()
        settings = {stage: study.stages.of(stage) for stage in study.stages.present}
        return _Journalled(
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


def _rounds(run: str, found: _Journalled) -> Iterator[Sample]:
    for stage, planned in found.planned.items():
        records = found.records[stage]
        yield metrics.ROUNDS_PLANNED.is_(planned, run, stage)
        yield metrics.ROUNDS_DONE.is_(len(records), run, stage)
        if records:
            yield metrics.ROUND_SECONDS.is_(records[-1]["seconds"], run, stage)


def _sites(run: str, found: _Journalled) -> Iterator[Sample]:
    """Yield a site's counts, from zero on: a counter that appears with its first event hides it from `increase`."""
    records = found.all_records
    alarms = Counter((alarm["site"], alarm["kind"]) for record in records for alarm in record.get("alarms", ()))
    codes = Counter((fault.site, fault.stage or "inventory", fault.code) for fault in found.faults)
    for site in found.sites:
        entries = [record["sites"][site] for record in records if site in record["sites"]]
        own = {(stage, code): count for (name, stage, code), count in codes.items() if name == site}
        refused = sum(count for (_, code), count in own.items() if code in REFUSALS)
        yield metrics.ACCEPTED.is_(sum(entry["code"] == OK for entry in entries), run, site)
        yield metrics.REFUSED.is_(refused, run, site)
        yield metrics.FAULTS.is_(sum(own.values()), run, site)
        for (stage, code), count in sorted(own.items()):
            yield metrics.FAULT_CODES.is_(count, run, site, stage, code)
        for kind in RULES:
            yield metrics.ALARMS.is_(alarms[site, kind], run, site, kind)
        for direction in ("down", "up"):
            total = sum(entry.get(f"bytes_{direction}", 0) for entry in entries)
            yield metrics.BYTES.is_(total, run, site, direction)
        seconds = [entry["seconds"] for entry in entries if entry["code"] == OK and "seconds" in entry]
        yield from _last(metrics.ANSWER_SECONDS, seconds, run, site)
        yield metrics.SITE_WITHDRAWN.is_(site in found.withdrawn, run, site)


def _last(metric: Metric, values: list[float], *labels: str) -> Iterator[Sample]:
    if values:
        yield metric.is_(values[-1], *labels)


def _last_written(out: Path, found: _Journalled) -> float:
    """Return when the last round began to count, else when the plan was frozen, by the copies' times."""
    ends = [copies.round_folder(out, Stage(each["stage"]), each["round"]) / copies.RECORD for each in found.all_records]
    times = [path.stat().st_mtime for path in (out / copies.PLAN, *ends[-1:]) if path.is_file()]
    return max(times, default=time.time())


def _stamp(out: Path) -> Stamp:
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


def _size(folder: Path) -> int:
    """Return the bytes of all files below a folder, those that vanish meanwhile left out."""
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.stat().st_size if path.is_file() else 0
        except FileNotFoundError:
            continue
    return total
