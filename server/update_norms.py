"""How far an update leads away from the global model, beside how far the others lead: an outlier does not count.

The cohort of a group is the sites that sent it in this round. Where these are fewer than three, none of them could be
told from the rest, and each is held against its own accepted updates of the stage's earlier rounds, or against a tenth
of the group's own length where that is more: a head that few batches touch may hardly move in one round and well in the
next. In the first round such a group passes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any

from safetensors import safe_open

from common.parameters import PLAIN, STATISTICS, Grouping, StateDict, group_of
from server.aggregation.weighted import SpooledUpdate

FEWEST_IN_COHORT = 3
LEAST_SHARE = 0.1
"""Share of a group's length below which a site's own past is no measure."""

Norms = Mapping[str, Mapping[str, float]]
"""Site → group → Euclidean norm of (update - global model)."""


@dataclass(frozen=True)
class Outlier:
    """A site's group whose norm exceeds the limit.

    Attributes:
        norm, usual: of this update, and what it is held against.
        own: whether that is the site's own past, for want of other sites.
    """

    site: str
    group: str
    norm: float
    usual: float
    own: bool

    def __str__(self) -> str:
        """Return the reason as a reader wants it."""
        measure = "its own past's measure is" if self.own else "the cohort's median is"
        return f"{self.site} moved {self.group} by {self.norm:.3g}, {measure} {self.usual:.3g}"


def norms_of(current: StateDict, update: SpooledUpdate, grouping: Grouping = PLAIN) -> dict[str, float]:
    """Return the norm of each group of an update, summed in float64; statistics have none."""
    squares: dict[str, float] = {}
    with safe_open(update.path, framework="pt") as file:
        for name in sorted(file.keys()):
            group = group_of(name, grouping)
            if group != STATISTICS:
                change = file.get_tensor(name).double() - current[name].double()
                squares[group] = squares.get(group, 0.0) + float(change.square().sum())
    return {group: square**0.5 for group, square in sorted(squares.items())}


def lengths_of(current: StateDict, grouping: Grouping = PLAIN) -> dict[str, float]:
    """Return the Euclidean length of each group of the global model."""
    squares: dict[str, float] = {}
    for name in sorted(current):
        if current[name].is_floating_point():
            group = group_of(name, grouping)
            squares[group] = squares.get(group, 0.0) + float(current[name].double().square().sum())
    return {group: square**0.5 for group, square in squares.items()}


def outliers(
    norms: Norms, lengths: Mapping[str, float], past: Iterable[Mapping[str, Any]], limit: float
) -> dict[str, Outlier]:
    """Return the sites with a group whose norm exceeds `limit` times the usual, each with the group that does so most.

    A median of zero (most sites did not move) is no measure, and refuses nobody.

    Args:
        norms: of this round's updates.
        lengths: of the global model's groups.
        past: the records of the stage's earlier rounds.
        limit: of the study; 0 refuses nobody.
    """
    if not limit:
        return {}
    earlier, cohorts = _accepted(past), _cohorts(norms)
    found: dict[str, Outlier] = {}
    for site in sorted(norms):
        for group, norm in norms[site].items():
            cohort = cohorts[group]
            own = len(cohort) < FEWEST_IN_COHORT
            before = earlier.get((site, group), [])
            if own:
                usual = max(median(before), LEAST_SHARE * lengths.get(group, 0.0)) if before else 0.0
            else:
                usual = median(cohort)
            worst = found.get(site)
            if 0 < limit * usual < norm and (worst is None or norm / usual > worst.norm / worst.usual):
                found[site] = Outlier(site, group, norm, usual, own)
    return found


def _cohorts(norms: Norms) -> dict[str, list[float]]:
    """Return the norms of every group over the sites that sent it."""
    cohorts: dict[str, list[float]] = {}
    for groups in norms.values():
        for group, norm in groups.items():
            cohorts.setdefault(group, []).append(norm)
    return cohorts


def _accepted(past: Iterable[Mapping[str, Any]]) -> dict[tuple[str, str], list[float]]:
    """Return the norms of every site's accepted groups, by the records of earlier rounds."""
    values: dict[tuple[str, str], list[float]] = {}
    for record in past:
        for site, entry in record["sites"].items():
            for group, norm in entry.get("norms", {}).items():
                values.setdefault((site, group), []).append(norm)
    return values
