"""What a site's disk says of it: cases, rounds trained, privacy spent, plans, certificates."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from client.config import SiteConfig
from client.monitoring import metrics
from common.monitoring.metric import Sample

if TYPE_CHECKING:
    from client.privacy.ledger import Entry


@dataclass(frozen=True)
class Held:
    """What the site holds: cases by sequence, and patients."""

    cases: dict[str, int]
    patients: int

    def samples(self) -> Iterator[Sample]:
        """Yield the figures."""
        for sequence, count in sorted(self.cases.items()):
            yield metrics.CASES.is_(count, sequence)
        yield metrics.PATIENTS.is_(self.patients)


def held(config: SiteConfig) -> Held:
    """Count a site's cases by names alone. Raises DataError where nothing there can be read as scans."""
    from client.data.catalog import survey_folder

    catalog = survey_folder(config.folder, config)
    counts = Counter(sequence.value for case in catalog.cases for sequence in case.images)
    return Held(dict(counts), len(catalog.patients))


def rounds(workdir: Path) -> Iterator[Sample]:
    """Yield the last round that the site trained of each run. Raises DataError where a record is damaged."""
    from client.privacy.withdrawal import ROUNDS_FOLDER, participation

    for path in sorted((workdir / ROUNDS_FOLDER).glob("*.json")):
        taken = participation(workdir, path.stem).rounds
        if taken:
            age_s = max(0.0, time.time() - path.stat().st_mtime)
            yield metrics.LAST_ROUND.is_(taken[-1].round, path.stem, taken[-1].stage)
            yield metrics.LAST_ROUND_AGE.is_(age_s, path.stem, taken[-1].stage)


def privacy(config: SiteConfig) -> tuple[Sample, ...]:
    """Return what private training has cost, and the share of the site's budget. Raises LedgerError.

    It takes seconds where much was spent: the loss distribution of all steps is followed.
    """
    from client.privacy.ledger import Ledger

    entries, budget = Ledger(config.workdir).entries(), config.policy.epsilon_budget
    spent = _spent(tuple(entries), config.policy.budget_delta)
    share = () if budget is None else (metrics.EPSILON.is_(spent / budget),)
    return (metrics.EPSILON_SPENT.is_(spent), *share)


def plans(workdir: Path) -> Iterator[Sample]:
    """Yield how many study plans are approved here, and how many wait for a person."""
    from client.consent import approvals, offers

    approved = {plan.digest for plan in approvals.approved(workdir)}
    offered = {path.stem for path in (workdir / offers.FOLDER).glob("*.json")}
    yield metrics.PLANS.is_(len(approved), "approved")
    yield metrics.PLANS.is_(len(offered - approved), "pending")


@lru_cache(maxsize=1)
def _spent(entries: tuple[Entry, ...], delta: float) -> float:
    if not entries:
        return 0.0
    from client.privacy.budget import spent

    return spent(list(entries), delta)
