"""Brain extraction without trained weights: a synthetic head is fitted by an affine, and its brain carried back.

The edge is the fitted one, not settled by the scan's own greys: that gained nothing where the fit had converged, and it
could cut a tumour at the surface away.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial.transform import Rotation

from client.imaging.affine_fit import MutualInformation, parameters_of, rigid_directions
from client.imaging.registration import centre_of_head, clip_bright
from client.imaging.resample import to_grid
from client.imaging.synthetic_head import SyntheticHead, synthetic_head
from common.errors import DataError
from common.shapes import Affine, Mask, Volume

Array = NDArray[np.float64]

VOLUME_LITRES = (1.0, 2.0)
"""What an extracted brain may measure; beyond it the fit has failed."""
STRIPPED_LITRES = (0.7, 2.3)
"""What a stripped image may show; a head shows more."""
STRIPPED_ZEROS = 0.2
"""The share of voxels that are exactly zero in a stripped image, at least."""

SEARCH_MM, COARSE_MM, FINE_MM = 8.0, 4.0, 2.5
CLIMB_SEARCH, CLIMB_COARSE, CLIMB_FINE = 25, 40, 30
SHIFTS_MM = (-30.0, -15.0, 0.0, 15.0, 30.0)
PITCHES_DEG = (-20.0, 0.0, 20.0)
TURNS_DEG = (-15.0, 0.0, 15.0)
TURNED, SHAPED, REFINED = 5, 3, 2
"""How many starts are followed on the coarsest grid, and how many of them on the two finer ones."""
USUAL_SIZE = 0.95
"""An adult brain's length over that of the MNI152 average, which is large."""

BEYOND_MM = 60.0
"""Beyond the synthetic head's box a voxel counts as this far outside the brain."""


@dataclass(frozen=True)
class BrainMask:
    """The brain of one volume.

    Attributes:
        mask: (I, J, K).
        litres: its volume.
        method: whether the image came stripped, or was fitted with the synthetic head.
    """

    mask: Mask
    litres: float
    method: Literal["stripped", "synthetic-head"]


def extract_brain(volume: Volume, affine: Affine) -> BrainMask:
    """Return the brain of a volume, with or without a skull, of any contrast.

    Args:
        volume: voxels (I, J, K), RAS+.
        affine: voxel indices to millimetres.
    Raises:
        DataError: where what is found cannot be a brain.
    """
    voxel_litres = abs(float(np.linalg.det(affine[:3, :3]))) * 1e-6
    shown = stripped_brain(volume, affine)
    if shown is not None:
        return BrainMask(shown, np.count_nonzero(shown) * voxel_litres, "stripped")
    mask = _fitted_brain(volume, affine)
    litres = np.count_nonzero(mask) * voxel_litres
    if not VOLUME_LITRES[0] <= litres <= VOLUME_LITRES[1]:
        raise DataError(
            f"the brain that was found measures {litres:.2f} l, which no adult brain does; the scan may show "
            "a part of the head only: give a brain mask with it"
        )
    return BrainMask(mask, litres, "synthetic-head")


def stripped_brain(volume: Volume, affine: Affine) -> Mask | None:
    """Return the brain of an image whose surroundings are exactly zero; None where it shows more than a brain."""
    shown = volume != 0
    if np.mean(~shown) < STRIPPED_ZEROS:
        return None
    brain = _largest_part(shown)
    litres = np.count_nonzero(brain) * abs(float(np.linalg.det(affine[:3, :3]))) * 1e-6
    return brain if STRIPPED_LITRES[0] <= litres <= STRIPPED_LITRES[1] else None


def _largest_part(mask: Mask) -> Mask:
    """Return the largest connected part of a mask, with its holes filled."""
    parts, count = ndimage.label(mask)
    if count > 1:
        sizes = np.bincount(parts.ravel())
        sizes[0] = 0
        mask = parts == sizes.argmax()
    return np.asarray(ndimage.binary_fill_holes(mask))


def _fitted_brain(volume: Volume, affine: Affine) -> Mask:
    """Fit the synthetic head and return its brain on the volume's grid."""
    head = synthetic_head()
    small, small_affine = _reduced(clip_bright(volume), affine, FINE_MM)
    to_patient = fit_head(head, small, small_affine)
    return to_grid(head.depth_mm + BEYOND_MM, to_patient @ head.affine, volume.shape, affine) > BEYOND_MM


def fit_head(head: SyntheticHead, volume: Volume, affine: Affine) -> Affine:
    """Return the affine (4, 4) that maps MNI millimetres to the patient's, by mutual information.

    Turns and shifts alone at first: on a coarse grid a freely swelling brain finds false comfort in the scalp.

    Raises:
        DataError: where the head overlaps the scan from no start.
    """
    centre = head.centre_mm
    search, coarse, fine = (
        MutualInformation(head.points(step, blur_mm), *_reduced(volume, affine, spacing_mm), centre)
        for step, blur_mm, spacing_mm in ((4, 4.0, SEARCH_MM), (3, 2.0, COARSE_MM), (2, 1.0, FINE_MM))
    )
    starts = _starts(centre, centre_of_head(volume, affine))
    starts.sort(key=lambda start: -search(parameters_of(*start))[0])
    found = [search.climb(parameters_of(*start), rigid_directions(start[0]), CLIMB_SEARCH) for start in starts[:TURNED]]
    found = [coarse.climb(place, np.eye(12), CLIMB_COARSE) for _, place in _best(found, SHAPED)]
    found = [fine.climb(place, np.eye(12), CLIMB_FINE) for _, place in _best(found, REFINED)]
    information, place = _best(found, 1)[0]
    if information <= 0:
        raise DataError("no head was found in the scan; check its affine, or give a brain mask with it")
    return fine.matrix(place)


def _best(found: list[tuple[float, Array]], count: int) -> list[tuple[float, Array]]:
    return sorted(found, key=lambda result: -result[0])[:count]


def _starts(centre: Array, patient: Array) -> list[tuple[Array, Array]]:
    """Return turns and shifts around centre on centre: a neck in view shifts the centre, a nod or a turn is common."""
    turns = product(PITCHES_DEG, TURNS_DEG, TURNS_DEG)
    rotations = [USUAL_SIZE * Rotation.from_euler("xyz", angles, degrees=True).as_matrix() for angles in turns]
    return [(turn, patient + np.array([0, 0, shift]) - centre) for shift in SHIFTS_MM for turn in rotations]


def _reduced(volume: Volume, affine: Affine, spacing_mm: float) -> tuple[Volume, Affine]:
    """Return a volume on an isotropic grid of `spacing_mm` along its own axes, antialiased."""
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    shape = np.maximum(1, np.round(np.array(volume.shape) * spacing / spacing_mm)).astype(int)
    step = np.array(volume.shape) / shape
    reduced = affine @ np.diag([*step, 1.0])
    reduced[:3, 3] = (affine @ [*(0.5 * (step - 1)), 1.0])[:3]
    return to_grid(volume, affine, [int(size) for size in shape], reduced), reduced
