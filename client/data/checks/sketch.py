"""A volume shrunk to about 3 mm, so that the sequences of a case can be compared in no time, whatever their grids."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from client.data.checks.reading import RawScan
from client.imaging.orientation import places_voxels
from common.shapes import Affine

SKETCH_MM = 3.0
LEVELS = 32

Values = NDArray[np.float32]


@dataclass(frozen=True)
class Sketch:
    """A small volume (I, J, K) RAS+ and its affine."""

    data: Values
    affine: Affine


def sketch(scan: RawScan) -> Sketch | None:
    """Average blocks of voxels up to about 3 mm; None for a volume that cannot be compared."""
    data = scan.volume
    if not places_voxels(scan.canonical) or not np.isfinite(data).all():
        return None
    spacing = np.linalg.norm(scan.canonical[:3, :3], axis=0)
    factor = np.clip(SKETCH_MM // spacing, 1, np.array(data.shape)).astype(int)
    whole = np.array(data.shape) // factor
    cut = data[tuple(slice(0, size) for size in whole * factor)]
    blocks = cut.reshape(whole[0], factor[0], whole[1], factor[1], whole[2], factor[2])
    affine = scan.canonical.copy()
    affine[:3, 3] += affine[:3, :3] @ ((factor - 1) / 2)
    affine[:3, :3] *= factor
    return Sketch(blocks.mean(axis=(1, 3, 5)), affine)


def centres(image: Sketch) -> NDArray[np.float64]:
    """Return the voxel centres of `image` in millimetres, shape (3, N)."""
    indices = np.indices(image.data.shape).reshape(3, -1)
    points: NDArray[np.float64] = image.affine[:3, :3] @ indices + image.affine[:3, 3:]
    return points


def sample(image: Sketch, points_mm: NDArray[np.float64], mirrored: bool = False) -> Values:
    """Return the nearest voxel's value at each point, 0 outside; `mirrored` reads the array right to left."""
    inverse = np.linalg.inv(image.affine)
    voxels = np.rint(inverse[:3, :3] @ points_mm + inverse[:3, 3:]).astype(int)
    if mirrored:
        voxels[0] = image.data.shape[0] - 1 - voxels[0]
    inside = ((voxels >= 0) & (voxels < np.array(image.data.shape)[:, None])).all(axis=0)
    values = np.zeros(points_mm.shape[1], dtype=np.float32)
    values[inside] = image.data[tuple(voxels[:, inside])]
    return values


def shared_information(first: Values, second: Values) -> float:
    """Return the mutual information of two samplings over the geometric mean of their entropies, in [0, 1].

    Values are ranked into 32 equally filled levels, and zero, the background, is one of its own, so that neither
    contrast nor scale matters.
    """
    joint = np.histogram2d(_levels(first), _levels(second), bins=[np.arange(LEVELS + 2)] * 2)[0]
    joint /= joint.sum()
    rows, columns = joint.sum(axis=1), joint.sum(axis=0)
    product = np.sqrt(_entropy(rows) * _entropy(columns))
    return float((_entropy(rows) + _entropy(columns) - _entropy(joint)) / product) if product > 0 else 0.0


def _levels(values: Values) -> NDArray[np.int64]:
    inside = values != 0
    if not inside.any():
        return np.zeros(values.shape, dtype=np.int64)
    edges = np.quantile(values[inside], np.linspace(0, 1, LEVELS + 1)[1:-1])
    return np.where(inside, np.digitize(values, edges) + 1, 0)


def _entropy(probabilities: NDArray[np.float64]) -> float:
    positive = probabilities[probabilities > 0]
    return max(0.0, float(-(positive * np.log(positive)).sum()))
