"""From patients to sums: what an assessment observed becomes totals, merged histograms and moments, or stays."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from common.assessment.declared import Bins, Features, Values
from common.assessment.findings import LARGEST_FEATURE, SLICES_A_FEATURE, FeatureSums, Histogram, Sums
from common.assessment.histogram import merged
from common.metrics.distribution import moments_of


def sums_of(observed: Mapping[str, tuple[float, ...]], kind: Values, fewest: int) -> Sums | None:
    """Return the sums over patients; None where they are fewer than `fewest`, or where a number is not finite.

    A number outside its declared range counts as the end of the range that it is beyond.

    Raises:
        ValueError: where a patient has another count of numbers than is declared.
    """
    table = np.array([observed[patient] for patient in sorted(observed)], dtype=np.float64)
    if len(table) < fewest or not np.isfinite(table).all():
        return None
    if table.shape[1:] != (len(kind.ranges),):
        raise ValueError(f"{table.shape[1:]} numbers a patient, {len(kind.ranges)} are declared")
    low, high = np.array(kind.ranges).T
    table = np.clip(table, low, high)
    totals, squares = table.sum(axis=0), np.square(table).sum(axis=0)
    return Sums(patients=len(table), totals=tuple(totals.tolist()), squares=tuple(squares.tolist()))


def histogram_of(observed: Mapping[str, int], kind: Bins, fewest: int) -> Histogram | None:
    """Return the patients by merged bins; None where they are fewer than `fewest`.

    Raises:
        ValueError: where a bin is not among those declared.
    """
    if len(observed) < fewest:
        return None
    counted = Counter(observed.values())
    if not set(counted) <= set(range(kind.count)):
        raise ValueError(f"a bin is not among 0 … {kind.count - 1}")
    groups = merged([counted[number] for number in range(kind.count)], fewest)
    return Histogram(ends=tuple(group.high for group in groups), counts=tuple(group.patients for group in groups))


def moments_over(observed: Mapping[str, NDArray[np.float64]], kind: Features, fewest: int) -> FeatureSums | None:
    """Return the moments over all slices; None where patients or slices are too few, or a feature is not finite.

    A feature beyond `LARGEST_FEATURE`, either way, counts as that.

    Raises:
        ValueError: where the features are of another length than is declared.
    """
    if len(observed) < fewest:
        return None
    rows = np.concatenate([np.asarray(observed[patient], dtype=np.float64) for patient in sorted(observed)])
    if rows.shape[1:] != (kind.size,):
        raise ValueError(f"features of shape {rows.shape[1:]}, {kind.size} are declared")
    if len(rows) < SLICES_A_FEATURE * kind.size or not np.isfinite(rows).all():
        return None
    moments = moments_of(np.clip(rows, -LARGEST_FEATURE, LARGEST_FEATURE))
    outer = moments.outer[np.triu_indices(kind.size)]
    return FeatureSums(
        patients=len(observed),
        slices=len(rows),
        total=tuple(moments.total.tolist()),
        outer=tuple(outer.tolist()),
    )
