"""What anyone could do without a network: copy, best copy, constant, monotone tone curve; fitted per site.

All are fitted on the training patients that hold both sequences, from the joint histogram of their greys inside the
brain, so memory does not grow with the cohort. A pair that no training patient holds has no best copy and no curve.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import isotonic_regression

from client.data.cache import CachedCase
from common.metrics.fidelity import to_greys
from common.sequences import Sequence

LEVELS = 256
Histogram = NDArray[np.int64]
Pair = tuple[Sequence, Sequence]
Key = TypeVar("Key")


@dataclass(frozen=True)
class ToneCurve:
    """A monotone curve from source to target greys: `values[g]` for grey level g, shape (256,)."""

    values: NDArray[np.float64]

    def __call__(self, greys: NDArray[np.float64]) -> NDArray[np.float64]:
        """Map greys 0 … 255 of any shape, linear between levels."""
        mapped: NDArray[np.float64] = np.interp(greys, np.arange(LEVELS), self.values)
        return mapped


@dataclass(frozen=True)
class Baselines:
    """One site's fitted baselines.

    Attributes:
        constant: per target the median grey inside the brain, which no other constant beats in mean absolute error.
        best_copy: per target the other sequence whose copy lies nearest.
        curves: per ordered pair the monotone curve, rising or falling, whichever errs less.
    """

    constant: dict[Sequence, float]
    best_copy: dict[Sequence, Sequence]
    curves: dict[Pair, ToneCurve]


def fit_baselines(cases: Iterable[CachedCase], sequences: tuple[Sequence, ...]) -> Baselines:
    """Fit all baselines for `sequences` on one site's training cases."""
    single: dict[Sequence, Histogram] = {}
    joint: dict[Pair, Histogram] = {}
    for case in cases:
        brain = case.brain() > 0
        held = [sequence for sequence in sequences if sequence in case.sequences]
        greys = {sequence: _quantised(case.slices(sequence)[brain]) for sequence in held}
        for target, wanted in greys.items():
            _add(single, target, np.bincount(wanted, minlength=LEVELS))
            for source, given in greys.items():
                if source != target:
                    counts = np.bincount(given * LEVELS + wanted, minlength=LEVELS**2).reshape(LEVELS, LEVELS)
                    _add(joint, (source, target), counts)
    copies = {pair: _error(counts, np.arange(LEVELS, dtype=np.float64)) for pair, counts in joint.items()}
    best = {
        target: min(near, key=near.__getitem__)
        for target in sequences
        if (near := {source: error for (source, wanted), error in copies.items() if wanted == target})
    }
    constant = {target: _median(counts) for target, counts in single.items()}
    return Baselines(constant, best, {pair: fit_tone_curve(counts) for pair, counts in joint.items()})


def fit_tone_curve(counts: Histogram) -> ToneCurve:
    """Fit the curve to a joint histogram (source grey, target grey), (256, 256), with at least one voxel.

    The median target grey of each source grey, made monotone by weighted isotonic regression.
    """
    weight = counts.sum(axis=1)
    seen = np.flatnonzero(weight)
    medians = np.array([_median(counts[level]) for level in seen])
    candidates = []
    for increasing in (True, False):
        fitted = isotonic_regression(medians, weights=weight[seen], increasing=increasing).x
        candidates.append(np.interp(np.arange(LEVELS), seen, fitted))
    return ToneCurve(min(candidates, key=lambda values: _error(counts, values)))


def _quantised(values: NDArray[np.floating]) -> NDArray[np.int64]:
    return np.clip(np.rint(to_greys(values)), 0, LEVELS - 1).astype(np.int64)


def _add(sums: dict[Key, Histogram], key: Key, counts: Histogram) -> None:
    sums[key] = sums[key] + counts if key in sums else counts


def _median(counts: Histogram) -> float:
    """Return the grey level that halves a histogram (256,)."""
    return float(np.searchsorted(np.cumsum(counts), counts.sum() / 2))


def _error(counts: Histogram, values: NDArray[np.float64]) -> float:
    """Return the mean absolute error of mapping source level g to `values[g]`."""
    distance = np.abs(np.arange(LEVELS)[None] - values[:, None])
    return float((counts * distance).sum() / counts.sum())
