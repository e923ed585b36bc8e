"""How well two masks agree: Dice and the 95th percentile of the distance between their surfaces.

Policy (that of BraTS): two empty masks agree perfectly, Dice 1 and HD95 0; if just one is empty they do not agree at
all, Dice 0 and HD95 the length of the volume's diagonal.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_erosion, distance_transform_edt, generate_binary_structure


def dice(prediction: NDArray[np.bool_], reference: NDArray[np.bool_]) -> float:
    """Return 2 |A ∩ B| / (|A| + |B|) of two masks of one shape."""
    total = int(prediction.sum()) + int(reference.sum())
    return 1.0 if total == 0 else 2 * int((prediction & reference).sum()) / total


def hausdorff95_mm(
    prediction: NDArray[np.bool_], reference: NDArray[np.bool_], spacing_mm: tuple[float, float, float]
) -> float:
    """Return the larger of the two directed 95th percentiles of surface distance.

    Args:
        prediction: mask on a voxel grid.
        reference: mask of the same shape.
        spacing_mm: voxel size along the three axes of the masks, in their order.
    """
    if not prediction.any() and not reference.any():
        return 0.0
    if not prediction.any() or not reference.any():
        return float(np.linalg.norm(np.array(prediction.shape) * np.array(spacing_mm)))
    box = _bounding_box(prediction | reference)
    first, second = _surface(prediction[box]), _surface(reference[box])
    to_second = distance_transform_edt(~second, sampling=spacing_mm)[first]
    to_first = distance_transform_edt(~first, sampling=spacing_mm)[second]
    return float(max(np.percentile(to_second, 95), np.percentile(to_first, 95)))


def _surface(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the voxels of `mask` that touch its outside by a face; what lies beyond the array is outside."""
    inner: NDArray[np.bool_] = binary_erosion(mask, generate_binary_structure(mask.ndim, 1))
    return mask & ~inner


def _bounding_box(mask: NDArray[np.bool_]) -> tuple[slice, ...]:
    return tuple(slice(int(line.min()), int(line.max()) + 1) for line in np.nonzero(mask))
