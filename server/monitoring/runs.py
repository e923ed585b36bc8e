"""What the journals of a consortium's runs say, as figures. They are looked into, never written, never waited for."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from common.errors import GliofedError
from common.logs import logger
from common.monitoring.metric import Metric, Sample
from common.records import OK
from server.alarms import RULES
from server.journal.journal import LOCK
from server.journal.lease import Lease
from server.monitoring import metrics
from server.monitoring.journalled import Journalled, Stamp, has_begun, last_written, read_journal, stamp_of
from server.operation.steering import state_of
from server.result import COMPLETE, FAILED, INCOMPLETE

log = logger(__name__)

RUNNING, DAMAGED = "running", "damaged"
STATES = (RUNNING, "paused", "stopping", "interrupted", COMPLETE, INCOMPLETE, FAILED, DAMAGED)
REFUSALS = frozenset(
    {
        *("replayed", "foreign-group", "not-finite", "wrong-site", "malformed", "malformed-assessment", "large-norm"),
        *("missing-tensor", "unknown-tensor", "wrong-coding", "wrong-dtype", "wrong-groups", "wrong-shape"),
        *("wrong-size", "out-of-range", "other-model"),
        *("unknown-signer", "false-share", "other-attempt"),
    }
)
"""Codes with which an answer that came in is turned away; with every other code a site was not there, or said no."""


class Runs:
    """The runs below a folder. A journal is read again only once it has changed; nothing of it is written."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._known: dict[str, tuple[Stamp, Journalled | None]] = {}
        self._stood_still: dict[str, float] = {}

    def samples(self) -> Iterator[Sample]:
        """Yield the figures of every run that has begun."""
        for out in sorted(self.folder.iterdir()) if self.folder.is_dir() else ():
            if has_begun(out):
                yield from self._run(out)

    def _run(self, out: Path) -> Iterator[Sample]:
        found = self._look_into(out)
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

    def _open_round(self, out: Path, found: Journalled) -> Iterator[Sample]:
        assert found.open_round is not None and found.deadline_s is not None, "looked at by the caller"  # noqa: S101
        stage, number, updates = found.open_round
        began = max(last_written(out, found), self._stood_still.get(out.name, 0.0))
        yield metrics.OPEN_ROUND.is_(number, out.name, stage)
        yield metrics.OPEN_AGE.is_(max(0.0, time.time() - began), out.name, stage)
        yield metrics.OPEN_DEADLINE.is_(found.deadline_s, out.name, stage)
        yield metrics.OPEN_UPDATES.is_(updates, out.name, stage)

    def _look_into(self, out: Path) -> Journalled | None:
        """Return what the run's journal says; None where it cannot be read."""
        stamp = stamp_of(out)
        before = self._known.get(out.name)
        if before is not None and before[0] == stamp:
            return before[1]
        try:
            found: Journalled | None = read_journal(out)
        except GliofedError as error:
            log.warning("%s cannot be watched: %s", out.name, error)
            found = None
        self._known[out.name] = (stamp, found)  # the stamp from before reading: what came meanwhile is read next time
        return found


def _rounds(run: str, found: Journalled) -> Iterator[Sample]:
    for stage, planned in found.planned.items():
        records = found.records[stage]
        yield metrics.ROUNDS_PLANNED.is_(planned, run, stage)
        yield metrics.ROUNDS_DONE.is_(len(records), run, stage)
        if records:
            yield metrics.ROUND_SECONDS.is_(records[-1]["seconds"], run, stage)


def _sites(run: str, found: Journalled) -> Iterator[Sample]:
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


def _size(folder: Path) -> int:
    """Return the bytes of all files below a folder, those that vanish meanwhile left out."""
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.stat().st_size if path.is_file() else 0
        except FileNotFoundError:
            continue
    return total
