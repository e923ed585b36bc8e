"""How far apart two populations of images lie: the Fréchet distance of their features, from sums that can be added.

A population is its count, the sum of its features and the sum of their outer products, in float64 about a common
shift; sites add theirs without showing an image. FD = |m - m'|² + tr(C + C' - 2 (C C')^½) (Heusel 2017, eq. 6). With
Inception features it is called FID; with any other encoder it is not, and the encoder is named beside it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float64]


@dataclass(frozen=True)
class Moments:
    """Sufficient statistics of n feature vectors of length F about a common shift.

    Attributes:
        count: n.
        total: sum of the shifted features, (F,).
        outer: sum of their outer products, (F, F).
    """

    count: int
    total: Matrix
    outer: Matrix

    def __add__(self, other: Moments) -> Moments:
        """Return the statistics of both populations together."""
        return Moments(self.count + other.count, self.total + other.total, self.outer + other.outer)

    @property
    def mean(self) -> Matrix:
        """Mean feature about the shift, (F,)."""
        mean: Matrix = self.total / self.count
        return mean

    @property
    def covariance(self) -> Matrix:
        """Unbiased covariance, (F, F). Raises ValueError for fewer than two vectors."""
        if self.count < 2:
            raise ValueError(f"{self.count} feature vectors have no covariance; two are needed")
        covariance: Matrix = (self.outer - np.outer(self.total, self.mean)) / (self.count - 1)
        return covariance


def moments_of(features: NDArray[np.floating], shift: NDArray[np.floating] | float = 0.0) -> Moments:
    """Return the statistics of features (n, F); populations that are compared or added must share `shift`, (F,)."""
    shifted = np.asarray(features, dtype=np.float64) - shift
    return Moments(len(shifted), shifted.sum(axis=0), shifted.T @ shifted)


def frechet_distance(one: Moments, other: Moments) -> float:
    """Return the squared Fréchet distance of the two Gaussians with these moments, at least 0.

    The trace of (C C')^½ is the nuclear norm of C^½ C'^½: two symmetric eigenproblems and singular values, which stay
    real where C C' does not.
    """
    root, other_root = _root(one.covariance), _root(other.covariance)
    shared = np.linalg.svd(root @ other_root, compute_uv=False).sum()
    apart = np.square(one.mean - other.mean).sum()
    spread = np.trace(one.covariance) + np.trace(other.covariance)
    return max(0.0, float(apart + spread - 2 * shared))


def _root(covariance: Matrix) -> Matrix:
    """Return the symmetric square root of a covariance; rounding below zero counts as zero."""
    values, vectors = np.linalg.eigh(covariance)
    root: Matrix = (vectors * np.sqrt(np.clip(values, 0, None))) @ vectors.T
    return root
