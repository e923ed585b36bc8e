"""How well scores tell two classes apart: the ROC curve, its area, and an interval for the area.

Policy: ties count one half. With one class only there is no area: None, with the reason. The interval is DeLong's
(Biometrics 44:837, 1988) on the logit scale, so that it stays inside 0 … 1. Where DeLong's variance is zero or
undefined (perfect separation, or a class of one) the min(m, n) disjoint pairs of a positive and a negative are
independent trials that succeed with probability AUC, and Clopper–Pearson on them bounds it: wide,
but never of no width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from common.metrics.proportion import binomial_interval


@dataclass(frozen=True)
class Auc:
    """Area under the ROC curve with its interval; `value` is None where one class is empty, and `note` says so.

    Attributes:
        value: the area, 0 … 1.
        low: lower end of the interval.
        high: upper end of the interval.
        positives: number of patients of the positive class.
        negatives: number of patients of the negative class.
        note: how the interval was found, or why there is none.
    """

    value: float | None
    low: float | None
    high: float | None
    positives: int
    negatives: int
    note: str


@dataclass(frozen=True)
class RocCurve:
    """Corners of the ROC curve from (0, 0) to (1, 1), one a distinct score, in order of falling threshold."""

    false_positive_rate: tuple[float, ...]
    true_positive_rate: tuple[float, ...]


def area_under_roc(scores: Sequence[float], positive: Sequence[bool], level: float = 0.95) -> Auc:
    """Return the probability that a positive scores above a negative, with its interval at `level`.

    Raises:
        ValueError: where a score is not finite, or the two sequences differ in length.
    """
    values, is_positive = _checked(scores, positive)
    m, n = int(is_positive.sum()), int((~is_positive).sum())
    if m == 0 or n == 0:
        missing = "positive" if m == 0 else "negative"
        return Auc(None, None, None, m, n, f"no {missing} patient, so there is no AUC")
    placements = _placements(values, is_positive)
    value = float(placements[is_positive].mean())
    variance = _delong_variance(placements, is_positive)
    if variance is None or not 0 < value < 1:
        pairs = min(m, n)
        low, high = binomial_interval(value * pairs, pairs, level)
        return Auc(value, low, high, m, n, f"Clopper–Pearson on {pairs} disjoint pairs")
    from scipy.stats import norm  # takes seconds to import, in each new process of a site

    half = float(norm.ppf((1 + level) / 2)) * np.sqrt(variance) / (value * (1 - value))
    logit = np.log(value / (1 - value))
    low, high = (float(1 / (1 + np.exp(-end))) for end in (logit - half, logit + half))
    return Auc(value, low, high, m, n, "DeLong, logit scale")


def roc_curve(scores: Sequence[float], positive: Sequence[bool]) -> RocCurve:
    """Return the ROC curve. Raises ValueError where a class is empty or a score is not finite."""
    values, is_positive = _checked(scores, positive)
    if is_positive.all() or not is_positive.any():
        raise ValueError("a ROC curve needs both classes")
    thresholds = np.unique(values)[::-1]
    above = values[None] >= thresholds[:, None]
    true = (above & is_positive).sum(axis=1) / is_positive.sum()
    false = (above & ~is_positive).sum(axis=1) / (~is_positive).sum()
    return RocCurve((0.0, *map(float, false)), (0.0, *map(float, true)))


def _checked(scores: Sequence[float], positive: Sequence[bool]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    values, is_positive = np.asarray(scores, dtype=np.float64), np.asarray(positive, dtype=bool)
    if values.shape != is_positive.shape or values.ndim != 1:
        raise ValueError(f"{values.shape} scores for {is_positive.shape} classes")
    if not np.isfinite(values).all():
        raise ValueError("a score is not finite")
    return values, is_positive


def _placements(values: NDArray[np.float64], is_positive: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return each patient's share of the other class that it is ordered rightly against (midranks, Sun & Xu 2014)."""
    from scipy.stats import rankdata

    m, n = int(is_positive.sum()), int((~is_positive).sum())
    overall = rankdata(values)
    share = np.empty_like(values)
    share[is_positive] = (overall[is_positive] - rankdata(values[is_positive])) / n
    share[~is_positive] = 1 - (overall[~is_positive] - rankdata(values[~is_positive])) / m
    return share


def _delong_variance(placements: NDArray[np.float64], is_positive: NDArray[np.bool_]) -> float | None:
    """Return the variance of the area, None where a class of one or no variation leaves it unknown."""
    groups = placements[is_positive], placements[~is_positive]
    if min(len(group) for group in groups) < 2:
        return None
    variance = sum(float(group.var(ddof=1)) / len(group) for group in groups)
    return variance if variance > 0 else None
