"""Voxel grids of the phantom and smooth random fields on them, the same field at every voxel size."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]

_VARIANCE = 0.4793650793650794
"""Mean over a knot interval of the sum of squared cubic B-spline weights."""


@dataclass(frozen=True)
class Grid:
    """An isotropic RAS+ voxel grid; `origin_mm` is the centre of voxel (0, 0, 0) in template millimetres.

    The field of view in mm does not depend on the spacing, so that a seed gives the same patient at 1 and 2 mm.
    """

    spacing_mm: float
    first_mm: tuple[float, float, float]
    extent_mm: tuple[float, float, float]

    @property
    def shape(self) -> tuple[int, int, int]:
        """Voxels along I, J, K."""
        i, j, k = (round(extent / self.spacing_mm) for extent in self.extent_mm)
        return (i, j, k)

    def axis_mm(self, axis: int) -> Array:
        """Voxel centres along one axis, mm."""
        steps = np.arange(self.shape[axis], dtype=np.float32) + np.float32(0.5)
        return steps * np.float32(self.spacing_mm) + np.float32(self.first_mm[axis])


BRAIN_GRID_MM = ((-84.0, -124.0, -84.0), (168.0, 216.0, 180.0))
HEAD_GRID_MM = ((-102.0, -144.0, -100.0), (204.0, 252.0, 220.0))


def make_grid(spacing_mm: float, with_skull: bool = False) -> Grid:
    """Return the field of view that holds a brain, or a head, at `spacing_mm`."""
    first, extent = HEAD_GRID_MM if with_skull else BRAIN_GRID_MM
    return Grid(spacing_mm, first, extent)


def smooth_field(rng: np.random.Generator, grid: Grid, knot_mm: float) -> Array:
    """Draw a random field of mean 0 and deviation about 1 whose features have the size of `knot_mm`.

    White noise on a lattice of knots, interpolated by cubic B-splines, separably. The last axis expanded is the
    first in memory, which keeps every pass contiguous.
    """
    lattice = tuple(int(np.ceil(extent / knot_mm)) + 4 for extent in grid.extent_mm)
    control = rng.standard_normal(lattice, dtype=np.float32)
    shift = rng.random(3, dtype=np.float32)
    for axis in (2, 1, 0):
        position = (grid.axis_mm(axis) - np.float32(grid.first_mm[axis])) / np.float32(knot_mm) + shift[axis]
        control = _expand(control, axis, position)
    return control * np.float32(_VARIANCE**-1.5)


def _expand(control: Array, axis: int, position: Array) -> Array:
    """Interpolate `control` along one axis at `position` (in knots), cubic B-spline."""
    base = np.floor(position).astype(np.intp)
    t = position - base.astype(np.float32)
    weights = (
        (1 - t) ** 3 / 6,
        (3 * t**3 - 6 * t**2 + 4) / 6,
        (-3 * t**3 + 3 * t**2 + 3 * t + 1) / 6,
        t**3 / 6,
    )
    shape = [1, 1, 1]
    shape[axis] = len(position)
    total = np.take(control, base, axis=axis) * weights[0].reshape(shape)
    for offset, weight in enumerate(weights[1:], start=1):
        total += np.take(control, base + offset, axis=axis) * weight.reshape(shape)
    return np.asarray(total, dtype=np.float32)


def sigmoid(values: NDArray[np.floating[Any]]) -> Array:
    """Logistic function, float32, without overflow."""
    return np.asarray(0.5 * np.tanh(np.float32(0.5) * values) + np.float32(0.5), dtype=np.float32)
