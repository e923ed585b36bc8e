"""N4 bias-field correction (Tustison 2010, in SimpleITK) on a coarse grid, for the field is smooth and N4 is slow."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk  # noqa: N813 - the name everyone knows it by

from client.imaging.itk import from_itk, one_thread, to_itk
from client.imaging.resample import to_grid
from common.errors import DataError
from common.shapes import Affine, Mask, Volume

WORKING_SPACING_MM = 7.0
"""Voxels are skipped, not averaged, to about this spacing: tissues stay pure, and one voxel in 40 of a 2 mm scan does.
Measured on 2 mm: 8 mm, 4 mm and 2 mm recover a field equally well (residual 3 %) in 0.3, 2 and 30 s."""

ITERATIONS = (10, 8, 5)
MINIMUM_VOXELS = 300


@dataclass(frozen=True)
class BiasField:
    """The natural logarithm of a multiplicative field, on a coarse grid; its mean over the mask is 0.

    Attributes:
        log_field: (I, J, K) of the coarse grid.
        affine: coarse voxel indices to millimetres.
    """

    log_field: Volume
    affine: Affine

    def on(self, shape: tuple[int, ...], affine: Affine) -> Volume:
        """Return the field, by which an image is divided, on another grid."""
        return np.exp(to_grid(self.log_field, self.affine, shape, affine, extend=True))


@one_thread()
def estimate_bias(volume: Volume, mask: Mask, affine: Affine) -> BiasField:
    """Estimate the field of a volume inside a mask; one thread, always the same result.

    Raises:
        DataError: where the mask holds too little to estimate anything.
    """
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    skip = np.clip(np.round(WORKING_SPACING_MM / spacing), 1, np.maximum(np.array(volume.shape) // 8, 1)).astype(int)
    first = skip // 2
    picked = tuple(slice(int(start), None, int(step)) for start, step in zip(first, skip, strict=True))
    coarse = affine @ np.diag([*skip, 1.0])
    coarse[:3, 3] = (affine @ [*first, 1.0])[:3]
    few, inside = volume[picked], mask[picked] & (volume[picked] > 0)
    if np.count_nonzero(inside) < MINIMUM_VOXELS:
        raise DataError("too few brain voxels for bias correction; check the brain mask and the field of view")
    n4 = sitk.N4BiasFieldCorrectionImageFilter()
    n4.SetMaximumNumberOfIterations(ITERATIONS)
    n4.SetConvergenceThreshold(0.0)
    image = to_itk(few, coarse)
    try:
        n4.Execute(image, to_itk(inside, coarse))
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1]
        raise DataError(f"bias correction failed ({reason}); prepare without it, or export the scan again") from None
    field = from_itk(n4.GetLogBiasFieldAsImage(image)).astype(np.float32)
    return BiasField(field - field[inside].mean(dtype=np.float64).astype(np.float32), coarse)


def correct_bias(volume: Volume, mask: Mask, affine: Affine) -> Volume:
    """Return the volume without its bias field, on its own grid. Raises DataError as `estimate_bias` does."""
    return volume / estimate_bias(volume, mask, affine).on(volume.shape, affine)
