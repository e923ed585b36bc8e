"""Which pair of thresholds decides best, from decisions counted on a grid of thresholds (CBSI: best F1 on validation).

What is counted travels as means over patients, so that the mean over sites, weighted by patients, is the consortium's.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import label

SLICE_THRESHOLDS = tuple(round(0.05 * step, 2) for step in range(1, 20))
"""The grid of lambda_c, 0.05 … 0.95."""

VOLUME_THRESHOLDS = tuple(round(0.28 + 0.02 * step, 2) for step in range(23))
"""The grid of lambda_r, 0.28 … 0.72: a softmax of two shares lies within 0.27 … 0.73."""

DECISIONS = ("disrupted", "intact", "indeterminate")
TABLE_SHAPE = (len(SLICE_THRESHOLDS), len(VOLUME_THRESHOLDS), 2, len(DECISIONS))
"""Axes of a table: lambda_c, lambda_r, true class (0 intact, 1 disrupted), decision; it sums to 1 over the last two."""

EQUAL = 1e-9


@dataclass(frozen=True)
class OperatingPoint:
    """The chosen thresholds, and the F1 of `disrupted` that they reach on the patients they were chosen on."""

    slice_threshold: float
    volume_threshold: float
    f1: float


def best_operating_point(table: NDArray[np.float64]) -> OperatingPoint | None:
    """Return the thresholds of best F1; None where a class is missing, for then no threshold could be told wrong.

    An indeterminate patient of the disrupted class counts as missed. Where several pairs reach the best F1, the largest
    connected plateau of them is taken (its neighbours agree, so it is the least likely to be luck), and on it the pair
    nearest to its middle; equal distances go to the lower thresholds.

    Args:
        table: decisions per pair of thresholds, `TABLE_SHAPE`, counts or shares.
    """
    shares = table[0, 0].sum(axis=1)
    if not (shares > EQUAL).all():
        return None
    true, false = table[:, :, 1, 0], table[:, :, 0, 0]
    f1 = 2 * true / (true + false + shares[1])
    plateaus, count = label(f1 >= f1.max() - EQUAL)
    sizes = np.bincount(plateaus.ravel(), minlength=count + 1)[1:]
    members = np.argwhere(plateaus == 1 + int(sizes.argmax()))
    distance = np.square(members - members.mean(axis=0)).sum(axis=1)
    row, column = members[int(np.argmin(np.round(distance, 9)))]
    return OperatingPoint(SLICE_THRESHOLDS[row], VOLUME_THRESHOLDS[column], float(f1[row, column]))
