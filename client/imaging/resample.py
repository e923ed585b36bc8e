"""Volumes carried from one voxel grid to another, whatever their affines; smoothed first where it is coarser."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from common.shapes import Affine, Labels, Mask, Volume

GAUSSIAN_PER_VOXEL = 0.4247
"""Standard deviation of a Gaussian whose full width at half maximum is one voxel (Cardoso 2015, scale factor)."""

EDGE_VOXEL = 0.5
"""A voxel reaches half its size beyond its centre; farther out there is no image."""


def to_grid(
    data: NDArray[np.generic],
    affine: Affine,
    shape: Sequence[int],
    target_affine: Affine,
    order: int = 1,
    extend: bool = False,
) -> Volume:
    """Return a volume on another grid; 0 where the source has no voxel.

    Args:
        data: source voxels (I, J, K).
        affine: source voxel indices to millimetres.
        shape: the target's size along I, J, K.
        target_affine: target voxel indices to the same millimetres.
        order: 1 for images (linear, antialiased along axes that become coarser), 0 for nearest neighbours, unsmoothed.
        extend: continue the outermost voxels beyond the source instead of 0.
    """
    step: Affine = np.asarray(np.linalg.solve(affine, target_affine), dtype=np.float64)
    source = np.asarray(data, dtype=np.float32)
    if order > 0:
        source = _smoothed(source, np.linalg.norm(step[:3, :3], axis=1))
    straight = np.allclose(step[:3, :3], np.diag(np.diag(step[:3, :3])), atol=1e-7)
    moved: Volume = ndimage.affine_transform(
        source,
        np.diag(step[:3, :3]) if straight else step[:3, :3],
        step[:3, 3],
        output_shape=tuple(shape),
        output=np.float32,
        order=order,
        mode="nearest",
    )
    if not extend:
        moved[~_inside(step, source.shape, tuple(shape))] = 0
    return moved


def mask_to_grid(mask: Mask, affine: Affine, shape: Sequence[int], target_affine: Affine) -> Mask:
    """Return a mask on another grid: what is more than half covered."""
    return np.asarray(to_grid(mask, affine, shape, target_affine) > 0.5)


def labels_to_grid(labels: Labels, affine: Affine, shape: Sequence[int], target_affine: Affine) -> Labels:
    """Return labels on another grid: in each voxel the label, background included, that fills most of it."""
    values = [int(value) for value in np.flatnonzero(np.bincount(labels.ravel(), minlength=1)) if value]
    winner = np.zeros(tuple(shape), dtype=np.uint8)
    if not values:
        return winner
    covered = [to_grid(labels == value, affine, shape, target_affine) for value in values]
    best = 1 - np.sum(covered, axis=0, dtype=np.float32)
    for value, share in zip(values, covered, strict=True):
        winner[share > best] = value
        best = np.maximum(best, share)
    return winner


def average_within(
    data: Volume, mask: Mask, affine: Affine, shape: Sequence[int], target_affine: Affine
) -> tuple[Volume, Volume]:
    """Return a volume on another grid with each voxel the mean of what lies inside `mask`, and the mask's share of it.

    So the dark rim around a stripped brain, or the bright scalp around an unstripped one, never bleeds inwards.
    """
    share = to_grid(mask, affine, shape, target_affine)
    total = to_grid(np.where(mask, data, np.float32(0)), affine, shape, target_affine)
    return np.where(share > 0, total / np.maximum(share, np.float32(1e-3)), np.float32(0)).astype(np.float32), share


def _smoothed(source: Volume, factors: NDArray[np.float64]) -> Volume:
    """Smooth along each axis on which one target voxel spans `factors` > 1 source voxels."""
    sigma = GAUSSIAN_PER_VOXEL * np.sqrt(np.maximum(factors**2 - 1, 0))
    for axis in np.flatnonzero(sigma > 0.05):
        source = ndimage.gaussian_filter1d(source, sigma[axis], axis=axis, mode="nearest", truncate=3)
    return source


def _inside(step: Affine, source: tuple[int, ...], target: tuple[int, ...]) -> Mask:
    """Return which target voxels have their centre in a source voxel, (I, J, K)."""
    i, j, k = np.ogrid[: target[0], : target[1], : target[2]]
    inside = np.ones(target, dtype=bool)
    for axis, size in enumerate(source):
        place = step[axis, 0] * i + step[axis, 1] * j + step[axis, 2] * k + step[axis, 3]
        inside &= (place >= -EDGE_VOXEL - 1e-6) & (place <= size - 1 + EDGE_VOXEL + 1e-6)
    return inside
