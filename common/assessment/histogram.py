"""Histograms whose small bins are merged, and the ROC area that two of them bound.

A bin that 1 … k - 1 patients lie in must not leave a site. Bins are merged from the left until a group holds k; what
remains at the end joins the last group. A bin of k or more stands alone where nothing waits to be merged, and so do the
empty bins before it. Where a group ends is the bin of some patient, as a median is; smallest and largest are not told.
"""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Sequence as Items
from dataclasses import dataclass

from common.metrics.classification import Auc, area_under_roc


@dataclass(frozen=True)
class Group:
    """Neighbouring bins `low` … `high` - 1 and the patients in them."""

    low: int
    high: int
    patients: int


@dataclass(frozen=True)
class AucBounds:
    """What histograms know of the area under the ROC curve.

    Attributes:
        low, high: between these it lies, for these very patients, however they lie within their groups.
        interval_low, interval_high: 95 % confidence limits, of the worst and of the best such arrangement.
        positives, negatives: patients.
    """

    low: float
    high: float
    interval_low: float
    interval_high: float
    positives: int
    negatives: int


def bin_of(value: float, low: float, high: float, bins: int) -> int:
    """Return the one of `bins` equal bins of `low` … `high` in which `value` lies; what lies outside goes to the ends.

    Raises:
        ValueError: where the value is not a number.
    """
    return min(bins - 1, max(0, int((value - low) / (high - low) * bins)))


def merged(counts: Items[int], fewest: int) -> tuple[Group, ...]:
    """Merge bins until every group holds none or at least `fewest` patients.

    Raises:
        ValueError: where there are patients, but fewer than that in all.
    """
    if not 0 < fewest <= sum(counts):
        raise ValueError(f"{sum(counts)} patients cannot be grouped by {fewest}")
    groups: list[Group] = []
    low = held = 0
    for number, count in enumerate(counts):
        if held == 0 and count >= fewest:
            groups += [Group(low, number, 0)] if low < number else []
            low = number
        held += count
        if held >= fewest:
            groups.append(Group(low, number + 1, held))
            low, held = number + 1, 0
    return _closed(groups, low, held, len(counts))


def _closed(groups: list[Group], low: int, held: int, bins: int) -> tuple[Group, ...]:
    """Add the bins from `low` on, in which `held` patients are left."""
    if low == bins:
        return tuple(groups)
    if held == 0 and groups[-1].high - groups[-1].low == 1:
        return (*groups, Group(low, bins, 0))
    while groups[-1].patients == 0:
        groups.pop()
    last = groups.pop()
    return (*groups, Group(last.low, bins, last.patients + held))


def auc_bounds(positives: Iterable[Group], negatives: Iterable[Group]) -> AucBounds | None:
    """Bound the AUC of patients in groups of any sites; None where a class is empty.

    Two patients are ordered for sure where one's group ends before the other's begins. The lower bound gives every
    other pair to the negative, the upper one to the positive; to each belongs the interval of `area_under_roc`.
    """
    disrupted = [group for group in positives if group.patients]
    intact = [group for group in negatives if group.patients]
    worst = _area([(group.low, group.patients) for group in disrupted], [(g.high - 0.5, g.patients) for g in intact])
    best = _area([(group.high - 0.5, group.patients) for group in disrupted], [(g.low, g.patients) for g in intact])
    if worst.value is None or best.value is None or worst.low is None or best.high is None:
        return None
    return AucBounds(worst.value, best.value, worst.low, best.high, worst.positives, worst.negatives)


def _area(positives: list[tuple[float, int]], negatives: list[tuple[float, int]]) -> Auc:
    scores = [score for score, count in (*positives, *negatives) for _ in range(count)]
    count = sum(patients for _, patients in positives)
    return area_under_roc(scores, [number < count for number in range(len(scores))])
