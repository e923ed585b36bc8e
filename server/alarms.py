"""Alarms of the adversarial game, per site: rules on the numbers that the sites report once a round.

An alarm changes nothing; it stands in the round's record, in the log and in the summary, for a person to act on. The
limits are rules of thumb: a mode collapse shows as a spread that falls, a discriminator that always wins leaves the
generator no gradient, one that loses to chance teaches nothing, and a style code that leaps takes the generator's
domains with it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any

MODE_COLLAPSE = "mode-collapse"
STYLE_COLLAPSE = "style-collapse"
DISCRIMINATOR_WINS = "discriminator-wins"
DISCRIMINATOR_LOSES = "discriminator-loses"
STYLE_DRIFT = "style-drift"

LEAST_SPREAD = 0.1
FALLEN_SPREAD, FALLEN_STYLE_SPREAD = 0.5, 0.2
"""A spread alarms below the least value, or below these shares of the median of the site's earlier rounds. Style codes
have no least value: one scanner's pictures may well have one style."""
MOST_WINS, LEAST_WINS = 0.98, 0.4
"""Share of rows, real and drawn, that a discriminator tells right; chance is one half."""
DRIFT_FACTOR, LEAST_DRIFT = 3.0, 0.2
"""A drift alarms above this multiple of the site's earlier median, where it is also above the second value."""
ROUNDS_BEFORE = 2
"""Earlier rounds from which on a site has a past to be compared with."""


@dataclass(frozen=True)
class Alarm:
    """One site's figure beyond its limit."""

    site: str
    kind: str
    value: float
    limit: float


def alarms(sites: Mapping[str, Mapping[str, Any]], past: Iterable[Mapping[str, Any]]) -> tuple[Alarm, ...]:
    """Return the alarms of a round, sites in order.

    Args:
        sites: site → its entry in the round's record.
        past: the records of the stage's earlier rounds.
    """
    earlier = list(past)
    found: list[Alarm] = []
    for site in sorted(sites):
        metrics = sites[site].get("metrics", {})
        for kind, (name, limit_of, is_beyond) in RULES.items():
            value = metrics.get(f"training.{name}")
            limit = limit_of(_before(earlier, site, f"training.{name}"))
            if value is not None and limit is not None and is_beyond(value, limit):
                found.append(Alarm(site, kind, value, limit))
    return tuple(found)


def least_spread(before: list[float]) -> float:
    """Return the spread below which a site's game has collapsed, by its spreads in earlier rounds."""
    return max(LEAST_SPREAD, FALLEN_SPREAD * median(before)) if len(before) >= ROUNDS_BEFORE else LEAST_SPREAD


def least_style_spread(before: list[float]) -> float | None:
    """Return the spread of codes below which a site's encoder has collapsed; None without a past."""
    return FALLEN_STYLE_SPREAD * median(before) if len(before) >= ROUNDS_BEFORE else None


def most_drift(before: list[float]) -> float | None:
    """Return the drift above which a style leaps, by its drifts in earlier rounds; None without a past."""
    return max(LEAST_DRIFT, DRIFT_FACTOR * median(before)) if len(before) >= ROUNDS_BEFORE else None


def _below(value: float, limit: float) -> bool:
    return value < limit


def _above(value: float, limit: float) -> bool:
    return value > limit


Limit = Callable[[list[float]], float | None]

RULES: Mapping[str, tuple[str, Limit, Callable[[float, float], bool]]] = {
    MODE_COLLAPSE: ("output_spread", least_spread, _below),
    STYLE_COLLAPSE: ("style_spread", least_style_spread, _below),
    DISCRIMINATOR_WINS: ("win_rate", lambda before: MOST_WINS, _above),
    DISCRIMINATOR_LOSES: ("win_rate", lambda before: LEAST_WINS, _below),
    STYLE_DRIFT: ("style_drift", most_drift, _above),
}
"""Kind of alarm → the training metric, its limit by the site's earlier rounds, and which side of it alarms."""


def _before(records: list[Mapping[str, Any]], site: str, metric: str) -> list[float]:
    """Return a site's values of a metric in earlier rounds."""
    entries = (record["sites"].get(site, {}).get("metrics", {}) for record in records)
    return [entry[metric] for entry in entries if metric in entry]
