"""What chaos must have found: each law returns in words what it was broken by."""

from __future__ import annotations

from collections.abc import Sequence

from simulations.chaos.crowd import Crowd
from simulations.chaos.trial import FaultRow

MOST_MINUTES = 25.0
"""How long `make chaos` may take on two processors."""

FLAT = 1.10
"""Peak memory of the largest crowd, as a multiple of the smallest one's, that still counts as flat."""

LINEAR = 1.5
"""Seconds a site of the largest crowd, as a multiple of the smallest one's, that still count as linear."""

NOTHING_RESTARTS = frozenset({"client-app-killed", "bad-link", "all of these", "site-away"})
"""Rows after which nothing need have been started again: a SuperNode starts the next ClientApp in any case."""


def broken_by_fault(row: FaultRow) -> str | None:
    """Say what a fault broke, or that it cannot have struck: what was killed has to be started again."""
    if row.lost:
        return f"{row.fault}: {row.ended}, {row.lost} rounds lost"
    if not row.restarts and row.fault not in NOTHING_RESTARTS:
        return f"{row.fault}: nothing was started again, so nothing was struck in mid-round"
    return None


def broken_by_crowds(crowds: Sequence[Crowd]) -> list[str]:
    """Say where memory is not flat, or time not linear, from the first crowd to the last."""
    least, most = crowds[0], crowds[-1]
    found = []
    if most.peak_mb > FLAT * least.peak_mb:
        found.append(f"crowd: {most.sites} sites take {most.peak_mb} MB, {least.sites} {least.peak_mb} MB")
    if most.seconds / most.sites > LINEAR * least.seconds / least.sites:
        found.append(f"crowd: {most.sites} sites take {most.seconds} s, {least.sites} {least.seconds} s")
    return found


def broken_by_time(seconds: float) -> str | None:
    """Say that it took too long."""
    if seconds <= 60 * MOST_MINUTES:
        return None
    return f"took {seconds / 60:.1f} minutes; make chaos must end within {MOST_MINUTES:g}"
