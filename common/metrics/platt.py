"""From a graded score to a probability: Platt's logistic curve, fitted to class-wise histograms of the score.

Histograms add up over sites, scores need not travel. A score stands for the middle of its bin, so the curve is found to
within half a bin of the score.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

BINS = 10
"""Equal bins of a score in [-1, 1]; the last one includes 1. Coarse, since a bin may hold a single patient."""

ENOUGH = 1e-10
MOST_STEPS = 100


@dataclass(frozen=True)
class PlattCurve:
    """P(positive | score) = 1 / (1 + exp(-(slope · score + intercept)))."""

    slope: float
    intercept: float

    def __call__(self, score: float) -> float:
        """Return the probability of the positive class."""
        return 1 / (1 + math.exp(-(self.slope * score + self.intercept)))


def bin_of(score: float) -> int:
    """Return the bin of a score in [-1, 1]."""
    return min(BINS - 1, max(0, math.floor((score + 1) / 2 * BINS)))


def fit_platt(counts: NDArray[np.float64]) -> PlattCurve | None:
    """Fit the curve to patients counted by class (0 negative, 1 positive) and bin, (2, BINS).

    The targets are Platt's, (n₊ + 1) / (n₊ + 2) and 1 / (n₋ + 2) (Advances in Large Margin Classifiers, 1999), so that
    separated classes give a finite slope. None where a class is empty, and where the slope would not be positive: a
    score that falls with the class has nothing to say, and its probabilities would contradict the decisions.
    """
    negatives, positives = counts.sum(axis=1)
    if negatives <= 0 or positives <= 0:
        return None
    middles = (np.arange(BINS) + 0.5) / BINS * 2 - 1
    weight = counts.sum(axis=0)
    wanted = counts[1] * (positives + 1) / (positives + 2) + counts[0] / (negatives + 2)
    design = np.stack([middles, np.ones(BINS)])
    curve = np.array([0.0, math.log((positives + 1) / (negatives + 1))])
    for _ in range(MOST_STEPS):
        probability = 1 / (1 + np.exp(-np.clip(curve @ design, -500, 500)))
        gradient = design @ (wanted - weight * probability)
        curvature = (design * (weight * probability * (1 - probability))) @ design.T
        step = np.linalg.solve(curvature + ENOUGH * np.eye(2), gradient)
        curve = curve + step * min(1.0, 10 / max(float(np.abs(step).max()), ENOUGH))
        if float(np.abs(step).max()) < 1e-9:
            break
    slope, intercept = map(float, curve)
    return PlattCurve(slope, intercept) if slope > 1e-6 else None
