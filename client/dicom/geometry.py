"""Whether slices make one volume, and where it lies: what the converter will be held against."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from client.dicom.header import Header
from common.shapes import Affine

FEWEST_SLICES = 10
"""Below that it is a localiser or a fragment, not a head."""

MOST_VOXELS = 2**28
"""Columns times rows times slices: 512 x 512 x 1024. Nothing larger is decoded."""

TOLERANCE_MM = 0.05
"""Rounding of positions that scanners are known for."""

TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
"""DICOM counts towards left, back and head; we towards right, front and head."""


@dataclass(frozen=True)
class Grid:
    """Where a stack of slices lies.

    Attributes:
        shape: columns, rows, slices.
        affine: indices (column, row, slice) to millimetres RAS+, (4, 4).
    """

    shape: tuple[int, int, int]
    affine: Affine

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Between columns, rows and slices."""
        i, j, k = (float(size) for size in np.linalg.norm(self.affine[:3, :3], axis=0))
        return i, j, k

    @property
    def plane(self) -> str:
        """The anatomical plane of the slices that is nearest."""
        return ("sagittal", "coronal", "axial")[int(np.argmax(np.abs(self.affine[:3, 2])))]

    def agrees(self, shape: tuple[int, ...], affine: Affine) -> bool:
        """Say whether another grid has the same voxels at the same places, however its axes run."""
        if sorted(shape) != sorted(self.shape):
            return False
        own, other = corners(self.shape, self.affine), corners(shape, affine)
        distance = np.linalg.norm(own[:, None] - other[None], axis=-1)
        nearest = distance.argmin(axis=1)
        return bool(len(set(nearest)) == len(own) and distance.min(axis=1).max() < 2 * TOLERANCE_MM)


def corners(shape: tuple[int, ...], affine: Affine) -> NDArray[np.float64]:
    """Return the centres of the eight outermost voxels, millimetres (8, 3)."""
    last = np.array(shape) - 1
    index = np.array([[i, j, k] for i in (0, last[0]) for j in (0, last[1]) for k in (0, last[2])])
    return np.asarray(index @ affine[:3, :3].T + affine[:3, 3])


def normal(header: Header) -> NDArray[np.float64]:
    """Return the direction in which a slice's stack grows, LPS; zero where its axes are no axes."""
    first, second = np.array(header.orientation).reshape(2, 3)
    sound = abs(first @ first - 1) < 0.01 and abs(second @ second - 1) < 0.01 and abs(first @ second) < 0.01
    return np.cross(first, second) if sound else np.zeros(3)


def place(slices: tuple[Header, ...]) -> tuple[Grid | None, tuple[str, ...]]:
    """Return the grid of slices of one orientation, shape and spacing, sorted along their normal; or what is wrong.

    Slices that are missing inside, uneven, slanted against each other (gantry tilt) or twice at one place are refused:
    a converter would invent what lies between.
    """
    first = slices[0]
    axis = normal(first)
    if not axis.any() or min(first.spacing_mm) <= 0 or max(first.spacing_mm) > 20:
        return None, ("its axes or pixel spacing are impossible",)
    if len(slices) < FEWEST_SLICES:
        return None, (f"has {len(slices)} of the {FEWEST_SLICES} slices that a volume has at least",)
    if first.rows * first.columns * len(slices) > MOST_VOXELS:
        return None, ("has more voxels than a scan of a head",)
    positions = np.array([each.position_mm for each in slices])
    steps = np.diff(positions @ axis)
    step = float(np.median(steps))
    if (steps < TOLERANCE_MM).any():
        return None, ("several slices at one place: several volumes in one series, or repeated slices",)
    gaps = int(np.rint(steps / step - 1).clip(0).sum())
    if gaps:
        return None, (f"{gaps} missing inside its stack of {len(slices)} slices",)
    if np.abs(steps - step).max() > max(TOLERANCE_MM, 0.02 * step):
        return None, ("its slices are unevenly spaced",)
    along = (positions[-1] - positions[0]) / (len(slices) - 1)
    if np.linalg.norm(along - axis * (along @ axis)) > 0.01 * step:
        return None, ("its slices are shifted against each other (gantry tilt)",)
    affine = np.eye(4)
    affine[:3, 0] = np.array(first.orientation[:3]) * first.spacing_mm[1]
    affine[:3, 1] = np.array(first.orientation[3:]) * first.spacing_mm[0]
    affine[:3, 2], affine[:3, 3] = along, positions[0]
    return Grid((first.columns, first.rows, len(slices)), TO_RAS @ affine), ()
