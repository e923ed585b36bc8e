"""Axis order and direction: any orientation to RAS+ and back, by flips and swaps alone, so that no voxel changes."""

from __future__ import annotations

from typing import Any

import nibabel as nib
import numpy as np
from nibabel.orientations import apply_orientation, axcodes2ornt, inv_ornt_aff, io_orientation, ornt_transform
from numpy.typing import NDArray

from common.shapes import Affine


def orientation_of(affine: Affine) -> str:
    """Return where the voxel axes of `affine` point, nearest first, e.g. `LPS`: left, back, head."""
    return "".join(str(letter) for letter in nib.aff2axcodes(affine))


def places_voxels(affine: Affine) -> bool:
    """Say whether an affine places voxels in space: finite, no axis of length zero, no two that point one way."""
    with np.errstate(all="ignore"):  # a damaged header holds numbers whose squares overflow
        solid = bool(np.isfinite(affine).all() and abs(np.linalg.det(affine[:3, :3])) > 1e-9)
        return solid and bool(np.isfinite(io_orientation(affine)).all())


def to_canonical(data: NDArray[Any], affine: Affine) -> tuple[NDArray[Any], Affine]:
    """Return a volume of any orientation in RAS+ axis order, with the affine that belongs to it."""
    turn = io_orientation(affine)
    return apply_orientation(data, turn), affine @ inv_ornt_aff(turn, data.shape)


def to_native(data: NDArray[Any], native_affine: Affine) -> NDArray[Any]:
    """Return an RAS+ volume (I, J, K) in the axis order of `native_affine`: what undoes `to_canonical`."""
    turn = ornt_transform(axcodes2ornt("RAS"), io_orientation(native_affine))
    return np.asarray(apply_orientation(data, turn))
