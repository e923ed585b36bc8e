"""The study grid laid over one case, and volumes on it as stacks of slices."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.errors import DataError
from common.shapes import Affine, Mask
from common.study import Grid

LARGEST_LOSS = 0.05
"""The share of the brain that may lie beyond the study grid."""


@dataclass(frozen=True)
class StudyGrid:
    """The voxel grid on which a case is cached.

    Attributes:
        shape: voxels along I, J, K.
        affine: voxel indices to millimetres RAS+, in the world of the case's reference sequence.
    """

    shape: tuple[int, int, int]
    affine: Affine


def grid_around(brain: Mask, affine: Affine, grid: Grid) -> StudyGrid:
    """Return the study grid along a volume's own axes, centred on its brain, with as many slices as the brain needs.

    Args:
        brain: mask (I, J, K) on the reference sequence's grid.
        affine: its voxel indices to millimetres RAS+.
        grid: the study's spacing and in-plane shape.
    Raises:
        DataError: where the mask is empty, or the brain is larger than the study's slices.
    """
    first, last = bounds(brain)
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    extent_mm = (last - first + 1) * spacing
    wanted = np.array(grid.spacing_mm)
    depth = max(1, int(np.ceil(extent_mm[2] / wanted[2] - 1e-6)))
    shape = (*grid.shape, depth)
    target = np.eye(4)
    target[:3, :3] = affine[:3, :3] / spacing * wanted
    middle = affine @ [*((first + last) / 2), 1.0]
    target[:3, 3] = middle[:3] - target[:3, :3] @ ((np.array(shape) - 1) / 2)
    _check_size(brain, (first + last) / 2, np.array(shape[:2]) * wanted[:2] / spacing[:2], grid)
    return StudyGrid(shape, target)


def bounds(mask: Mask) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the first and the last voxel index of a mask along each axis. Raises DataError where it is empty."""
    if not mask.any():
        raise DataError("the brain mask is empty; draw it again, or remove it and the client extracts the brain itself")
    ends = [np.flatnonzero(mask.any(axis=tuple({0, 1, 2} - {axis})))[[0, -1]] for axis in range(3)]
    first, last = np.array(ends).T
    return first, last


def crop(data: NDArray[Any], affine: Affine, mask: Mask, margin_mm: float) -> tuple[NDArray[Any], Mask, Affine]:
    """Return a volume, its mask and its affine cut to the mask's bounding box and a margin. Raises as `bounds` does."""
    margin = np.ceil(margin_mm / np.linalg.norm(affine[:3, :3], axis=0)).astype(int)
    first, last = bounds(mask)
    first, stop = np.maximum(first - margin, 0), np.minimum(last + 1 + margin, mask.shape)
    box = tuple(slice(int(a), int(b)) for a, b in zip(first, stop, strict=True))
    moved = affine.copy()
    moved[:3, 3] = (affine @ [*first, 1.0])[:3]
    return data[box], mask[box], moved


def to_slices(volume: NDArray[Any]) -> NDArray[Any]:
    """Return a volume (I, J, K) as slices (K, H, W)."""
    return np.ascontiguousarray(volume.transpose(2, 0, 1))


def _check_size(brain: Mask, middle: NDArray[np.float64], size: NDArray[np.float64], grid: Grid) -> None:
    """Refuse a brain of which more than a sliver lies beyond `size` voxels around the middle, in-plane."""
    plane = brain.sum(axis=2, dtype=np.int64)
    i, j = np.indices(plane.shape)
    within = (abs(i - middle[0]) <= size[0] / 2) & (abs(j - middle[1]) <= size[1] / 2)
    lost = 1 - plane[within].sum() / plane.sum()
    if lost > LARGEST_LOSS:
        i_mm, j_mm = (count * step for count, step in zip(grid.shape, grid.spacing_mm, strict=False))
        raise DataError(
            f"{lost:.0%} of the brain lies beyond the study's slices of {i_mm:.0f} x {j_mm:.0f} mm; check the brain "
            "mask, or raise grid.shape in study.toml"
        )
