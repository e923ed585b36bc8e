"""Upper confidence bounds of what an attack achieves: the bound, not the estimate, is held against a study's limit.

A share of patients has the exact bound of Clopper and Pearson. The area under an attack's ROC curve has Newcombe's
(Stat Med 25:559, 2006, method 5): the largest area θ whose distance from the estimate is z standard errors of an area
θ, so that it neither needs the scores themselves nor loses its width at an estimate of 0 or 1. Sites are strata: their
areas are averaged with weights m n / (m + n), and their variances add.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from common.metrics.proportion import binomial_interval

LARGEST = 1 - 1e-12
MOST_PATIENTS = 10_000_000


@dataclass(frozen=True)
class Stratum:
    """One site's part in an attack: the patients that were trained on, the strangers to the model, the area there."""

    members: int
    strangers: int
    area: float

    @property
    def weight(self) -> float:
        """What the site counts beside others, close to the inverse of its area's variance."""
        return self.members * self.strangers / (self.members + self.strangers)


def pooled_area(strata: Iterable[Stratum]) -> float:
    """Return the weighted mean area of at least one site."""
    known = list(strata)
    return sum(each.weight * each.area for each in known) / sum(each.weight for each in known)


def area_at_most(strata: Iterable[Stratum], confidence: float) -> float:
    """Return the upper bound of the pooled area at one-sided `confidence`, at most 1."""
    from scipy.optimize import brentq  # takes seconds to import, in each new process of a site
    from scipy.stats import norm

    known = list(strata)
    area, total = pooled_area(known), sum(each.weight for each in known)
    z = float(norm.ppf(confidence))

    def beyond(theta: float) -> float:
        parts = ((each.weight / total) ** 2 * _variance(theta, each.members, each.strangers) for each in known)
        return theta - area - z * math.sqrt(sum(parts))

    if area >= LARGEST or beyond(LARGEST) <= 0:
        return 1.0
    return float(brentq(beyond, max(area, 1 - LARGEST), LARGEST))


def share_at_most(successes: int, trials: int, confidence: float) -> float:
    """Return the exact upper bound of a share at one-sided `confidence`; 1 where nothing was tried."""
    return binomial_interval(successes, trials, 2 * confidence - 1)[1]


def patients_for_area(limit: float, confidence: float) -> int:
    """Return how many members and as many strangers an attack that guesses (area 1/2) needs to stay within `limit`."""
    return _fewest(lambda count: area_at_most([Stratum(count, count, 0.5)], confidence) <= limit)


def patients_for_share(limit: float, confidence: float) -> int:
    """Return how many patients without a single success are needed to stay within `limit`."""
    return _fewest(lambda count: share_at_most(0, count, confidence) <= limit)


def _variance(area: float, members: int, strangers: int) -> float:
    """Return the variance of an estimate of `area` (Hanley & McNeil 1982, both classes alike: Newcombe's method 5)."""
    mean = (members + strangers) / 2 - 1
    spread = 1 + mean * ((1 - area) / (2 - area) + area / (1 + area))
    return area * (1 - area) * spread / (members * strangers)


def _fewest(enough: Callable[[int], bool]) -> int:
    """Return the smallest count that is enough, where every larger one is; at most `MOST_PATIENTS`."""
    high = 1
    while not enough(high) and high < MOST_PATIENTS:
        high *= 2
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high
