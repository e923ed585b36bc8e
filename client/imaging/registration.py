"""Rigid registration of one patient's sequences: Mattes mutual information, coarse to fine, from several starts.

Deterministic: one thread, regular sampling with a fixed seed.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import SimpleITK as sitk  # noqa: N813 - the name everyone knows it by
from numpy.typing import NDArray
from scipy import ndimage

from client.imaging.itk import RAS_TO_LPS, one_thread, to_itk, transform_matrix
from common.errors import DataError
from common.shapes import Affine, Mask, Volume

LEVELS_MM = (4.0, 2.0, 1.0)
"""Voxels finer than this are thinned to it, level by level; without the last one some miss by millimetres."""

SEARCH_MM = 8.0
TURNS_DEG = (-12.0, 0.0, 12.0)
KEPT_STARTS = 3
"""Before the levels, turns about each axis are compared on a grid of `SEARCH_MM`; the best few are followed."""

SAMPLES = 40_000
"""Voxels that are looked at on each level."""

SEED = 1
BINS = 32
ITERATIONS = 100
RELAXATION = 0.7
MARGIN_MM = 20.0
"""How far around the brain the finer levels look: scalp and air guide the fit (with 8 mm it strays), a jaw misleads."""


@dataclass(frozen=True)
class RigidTransform:
    """A rotation and a shift that carry one image's world to another's.

    Attributes:
        matrix: (4, 4), millimetres RAS+; maps points of the moving image to the fixed image's world. An image is
            carried by `matrix @ affine`.
        mutual_information: of the two images once aligned, in nats; higher is better.
    """

    matrix: Affine
    mutual_information: float

    @property
    def angle_deg(self) -> float:
        """The angle of the rotation."""
        return float(np.degrees(np.arccos(np.clip((np.trace(self.matrix[:3, :3]) - 1) / 2, -1, 1))))


IDENTITY = RigidTransform(np.eye(4), 0.0)


@one_thread()
def register_rigid(
    fixed: Volume, fixed_affine: Affine, moving: Volume, moving_affine: Affine, mask: Mask | None = None
) -> RigidTransform:
    """Find how the moving image has to be turned and shifted to lie on the fixed one.

    Args:
        fixed, moving: voxels (I, J, K) of two images of one head, of whatever contrast, spacing and field of view.
        fixed_affine, moving_affine: their voxel indices to millimetres.
        mask: the brain on the fixed grid; the whole image where there is none.
    Raises:
        DataError: where the two images do not overlap from any start.
    """
    fixed, moving = clip_bright(fixed), clip_bright(moving)
    around = None if mask is None else dilate(mask, fixed_affine, MARGIN_MM)
    information = 0.0
    starts = _starts(fixed, fixed_affine, moving, moving_affine)
    for level in LEVELS_MM:
        still, carried = to_itk(*thin(fixed, fixed_affine, level)), to_itk(*thin(moving, moving_affine, level))
        look = None
        if around is not None and level != LEVELS_MM[0]:
            look = to_itk(*_thin_mask(around, fixed_affine, level))
        tries = [optimise(still, carried, look, sitk.Euler3DTransform(start), level) for start in starts]
        found = [result for result in tries if result is not None]
        if not found:
            raise DataError("two sequences of the case do not overlap in space; check their headers, or remove one")
        information, best = max(found, key=lambda result: result[0])
        starts = [best]
    # ITK's transform leads from the fixed to the moving image.
    return RigidTransform(np.asarray(np.linalg.inv(transform_matrix(starts[0])), dtype=np.float64), information)


def clip_bright(volume: Volume) -> Volume:
    """Return a volume between 0 and its 99.5th percentile, so that few bright voxels do not use up all bins."""
    return np.clip(volume, 0, max(float(np.percentile(volume, 99.5)), 1e-6))


def dilate(mask: Mask, affine: Affine, margin_mm: float) -> Mask:
    """Return a mask grown by `margin_mm` on all sides."""
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    return np.asarray(ndimage.distance_transform_edt(~mask, sampling=spacing) <= margin_mm)


def centre_of_head(volume: Volume, affine: Affine) -> NDArray[np.float64]:
    """Return the centre of what is not air, millimetres RAS+."""
    foreground = volume > 0.15 * np.percentile(volume, 99)
    centre = ndimage.center_of_mass(foreground if foreground.any() else np.ones_like(foreground))
    return np.asarray((affine @ [*centre, 1.0])[:3])


def thin(volume: Volume, affine: Affine, spacing_mm: float) -> tuple[Volume, Affine]:
    """Return every n-th voxel of a smoothed volume along each axis that is finer than `spacing_mm`."""
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    step = np.maximum(1, np.round(spacing_mm / spacing)).astype(int)
    smooth = ndimage.gaussian_filter(volume, np.where(step > 1, 0.4 * step, 0)) if (step > 1).any() else volume
    first = (step - 1) // 2
    coarse = affine @ np.diag([*step, 1.0])
    coarse[:3, 3] = (affine @ [*first, 1.0])[:3]
    return smooth[tuple(slice(a, None, n) for a, n in zip(first, step, strict=True))], coarse


def _thin_mask(mask: Mask, affine: Affine, spacing_mm: float) -> tuple[Mask, Affine]:
    share, coarse = thin(mask.astype(np.float32), affine, spacing_mm)
    return share > 0.3, coarse


def _starts(fixed: Volume, fixed_affine: Affine, moving: Volume, moving_affine: Affine) -> list[Any]:
    """Return the transforms to start from: as the headers say, and the best turns of it and of centre on centre."""
    still, carried = to_itk(*thin(fixed, fixed_affine, SEARCH_MM)), to_itk(*thin(moving, moving_affine, SEARCH_MM))
    centre = (RAS_TO_LPS @ [*centre_of_head(fixed, fixed_affine), 1.0])[:3]
    shift = (RAS_TO_LPS @ [*centre_of_head(moving, moving_affine), 1.0])[:3] - centre
    turns = product((np.zeros(3), shift), TURNS_DEG, TURNS_DEG, TURNS_DEG)
    starts = [_rigid(centre, offset, angles) for offset, *angles in turns]
    best = sorted(starts, key=lambda start: -information_at(still, carried, start))[:KEPT_STARTS]
    return [_rigid(centre, np.zeros(3), [0.0, 0.0, 0.0]), *best]


def _rigid(centre: NDArray[np.float64], offset: NDArray[np.float64], angles_deg: list[float]) -> Any:
    start = sitk.Euler3DTransform()
    start.SetCenter(centre.tolist())
    start.SetRotation(*(float(np.deg2rad(angle)) for angle in angles_deg))
    start.SetTranslation(offset.tolist())
    return start


def optimise(fixed: Any, moving: Any, mask: Any | None, transform: Any, step_mm: float) -> tuple[float, Any] | None:
    """Move an ITK transform, in place, to a maximum of mutual information.

    Returns:
        The mutual information in nats, and the transform; None where the images do not overlap.
    """
    method = _method(transform)
    if mask is not None:
        method.SetMetricFixedMask(mask)
    share = SAMPLES / fixed.GetNumberOfPixels()
    if share < 1:
        method.SetMetricSamplingStrategy(method.REGULAR)
        method.SetMetricSamplingPercentage(share, SEED)
    method.SetOptimizerAsRegularStepGradientDescent(step_mm, 0.01 * step_mm, ITERATIONS, RELAXATION, 1e-6)
    method.SetOptimizerScalesFromPhysicalShift()
    try:
        method.Execute(fixed, moving)
    except RuntimeError:  # ITK's word for "all samples map outside the moving image"
        return None
    return -float(method.GetMetricValue()), transform


def information_at(fixed: Any, moving: Any, transform: Any) -> float:
    """Return the mutual information of two images under a transform, in nats; 0 where they do not overlap."""
    try:
        return -float(_method(transform).MetricEvaluate(fixed, moving))
    except RuntimeError:
        return 0.0


def _method(transform: Any) -> Any:
    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsMattesMutualInformation(BINS)
    method.SetInterpolator(sitk.sitkLinear)
    method.SetInitialTransform(transform, inPlace=True)
    return method
