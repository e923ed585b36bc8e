"""Mutual information of fixed points with an image under an affine, its gradient, and the climb to its top.

Histogram with linear Parzen windows along the moving image's greys, so that the derivative is exact (after Mattes
2003); a quasi-Newton climb (L-BFGS) reaches the top where gradient descent on twelve parameters stops short.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from common.shapes import Affine, Volume

Array = NDArray[np.float64]

BINS = 32
RADIUS_MM = 70.0
"""A matrix entry of 1 / RADIUS_MM moves the brain's surface by about 1 mm: so all parameters are in millimetres."""
SMALLEST_OVERLAP = 0.3
TINY = 1e-9


@dataclass(frozen=True)
class FixedPoints:
    """Where the fixed image is looked at.

    Attributes:
        points_mm: (N, 3), fixed millimetres RAS+.
        values: (N,), the fixed image there, not negative.
    """

    points_mm: Array
    values: Array


class MutualInformation:
    """Mutual information in nats of fixed points with a moving image, as a function of twelve parameters in mm.

    The affine maps point p to centre + (1 + L / RADIUS_MM)(p - centre) + t; the parameters are the nine entries of L,
    row by row, and t. Points that fall outside the moving image do not count.
    """

    def __init__(self, fixed: FixedPoints, moving: Volume, moving_affine: Affine, centre_mm: Array) -> None:
        self.arms = fixed.points_mm - centre_mm
        self.centre = centre_mm
        self.fixed_bin = _bins(fixed.values)
        top = max(float(np.percentile(moving, 99.9)), TINY)
        self.moving = np.clip(moving / top, 0, 1).astype(np.float64) * (BINS - 1.001)
        self.to_voxel = np.linalg.inv(moving_affine)

    def matrix(self, parameters: Array) -> Affine:
        """Return the affine (4, 4) that the parameters stand for."""
        linear = np.eye(3) + parameters[:9].reshape(3, 3) / RADIUS_MM
        full = np.eye(4)
        full[:3, :3] = linear
        full[:3, 3] = self.centre + parameters[9:] - linear @ self.centre
        return full

    def __call__(self, parameters: Array) -> tuple[float, Array]:
        """Return the mutual information and its gradient; 0 and zeros where the overlap is too small."""
        full = self.to_voxel @ self.matrix(parameters)
        places = self.arms @ full[:3, :3].T + (full[:3, :3] @ self.centre + full[:3, 3])
        size = np.array(self.moving.shape)
        seen = ((places >= 0) & (places < size - 1)).all(axis=1)
        if np.count_nonzero(seen) < SMALLEST_OVERLAP * len(places):
            return 0.0, np.zeros(12)
        arms, fixed_bin = self.arms[seen], self.fixed_bin[seen]
        values, slopes = _interpolate(self.moving, places[seen])
        information, force = _information(fixed_bin, values)
        pull = (slopes * force[:, None]) @ self.to_voxel[:3, :3]
        turn = np.einsum("ni,nj->ij", pull, arms)  # not BLAS, whose sum depends on the number of threads
        return information, np.concatenate([turn.ravel() / RADIUS_MM, pull.sum(axis=0)])

    def climb(self, start: Array, directions: Array, iterations: int) -> tuple[float, Array]:
        """Return the highest mutual information reachable from `start` along the columns of `directions`, and where.

        Args:
            start: (12,).
            directions: (12, F), the freedoms of the climb.
            iterations: of L-BFGS, at most.
        """

        def downhill(steps: Array) -> tuple[float, Array]:
            information, gradient = self(start + directions @ steps)
            return -information, -(directions.T @ gradient)

        result = minimize(
            downhill, np.zeros(directions.shape[1]), jac=True, method="L-BFGS-B", options={"maxiter": iterations}
        )
        return -float(result.fun), start + directions @ result.x


def parameters_of(linear: Array, shift_mm: Sequence[float] | Array) -> Array:
    """Return the twelve parameters of a matrix (3, 3) about the centre and a shift of the centre."""
    return np.concatenate([((linear - np.eye(3)) * RADIUS_MM).ravel(), np.asarray(shift_mm, dtype=np.float64)])


def rigid_directions(linear: Array) -> Array:
    """Return the freedoms to turn and shift from a matrix (3, 3): (12, 6), each moving the surface by about 1 mm."""
    turns = np.zeros((3, 3, 3))
    for axis, (row, column) in enumerate(((2, 1), (0, 2), (1, 0))):
        turns[axis, row, column], turns[axis, column, row] = 1, -1
    columns = [np.concatenate([(turn @ linear).ravel(), np.zeros(3)]) for turn in turns]
    return np.hstack([np.stack(columns, axis=1), np.vstack([np.zeros((9, 3)), np.eye(3)])])


def _bins(values: Array) -> NDArray[np.int64]:
    top = max(float(values.max()), TINY)
    return np.minimum(values / top * BINS, BINS - 1).astype(np.int64)


def _interpolate(image: NDArray[np.float64], places: Array) -> tuple[Array, Array]:
    """Return linear interpolation of an image at voxel places (N, 3), and its slope per voxel (N, 3)."""
    _, size_j, size_k = image.shape
    whole = places.astype(np.int64)
    i, j, k = (places - whole).T
    flat, base = image.ravel(), (whole[:, 0] * size_j + whole[:, 1]) * size_k + whole[:, 2]
    corners = [[[flat[base + (a * size_j + b) * size_k + c] for c in (0, 1)] for b in (0, 1)] for a in (0, 1)]
    along_k = [[low + (high - low) * k for low, high in plane] for plane in corners]
    rise_k = [[high - low for low, high in plane] for plane in corners]
    along_j = [low + (high - low) * j for low, high in along_k]
    rise_j = [high - low for low, high in along_k]
    slope_k = [low + (high - low) * j for low, high in rise_k]
    values = along_j[0] + (along_j[1] - along_j[0]) * i
    slopes = (
        along_j[1] - along_j[0],
        rise_j[0] + (rise_j[1] - rise_j[0]) * i,
        slope_k[0] + (slope_k[1] - slope_k[0]) * i,
    )
    return values, np.stack(slopes, axis=1)


def _information(fixed_bin: NDArray[np.int64], values: Array) -> tuple[float, Array]:
    """Return the mutual information of binned and unbinned greys (N,), and its derivative by each of the latter."""
    lower = values.astype(np.int64)
    share, cell, count = values - lower, fixed_bin * BINS + lower, BINS * BINS
    total = np.bincount(cell, 1 - share, count) + np.bincount(cell + 1, share, count + 1)[:count]
    joint = total.reshape(BINS, BINS) / len(values)
    outer = joint.sum(axis=1, keepdims=True) * joint.sum(axis=0, keepdims=True)
    surprise = np.log((joint + TINY) / (outer + TINY))
    flat = surprise.ravel()
    return float((joint * surprise).sum()), (flat[np.minimum(cell + 1, count - 1)] - flat[cell]) / len(values)
