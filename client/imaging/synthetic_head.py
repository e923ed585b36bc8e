"""A head to register a patient's to: the MNI152 brain in shells of fluid, skull, scalp and air.

The MNI152 template (Copyright (C) 1993–2004 Louis Collins, McConnell Brain Imaging Centre, Montreal Neurological
Institute, McGill University) is read from the nilearn wheel and not distributed with GlioFed. It is stripped; a scan is
not. Without the shells, that of air above all, an affine registration swells the brain until it fills the scalp.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from client.imaging.affine_fit import FixedPoints
from client.imaging.nifti import read_volume
from common.errors import DataError
from common.shapes import Affine, Mask, Volume

SPACING_MM = 2
PADDING_MM = 24
TEMPLATE = "datasets/data/mni_icbm152_t1_tal_nlin_sym_09a_converted.nii.gz"

FLUID, SKULL, SCALP = 60.0, 20.0, 200.0
"""T1-like greys of the shells, beside white matter at about 210; mutual information takes any other contrast too."""
FLUID_MM, SKULL_MM, SCALP_MM, AIR_MM = 2.0, 7.0, 6.0, 14.0


@dataclass(frozen=True)
class SyntheticHead:
    """The head at 2 mm.

    Attributes:
        image: (I, J, K), RAS+.
        depth_mm: distance to the brain's surface, positive inside, (I, J, K).
        domain: where it resembles a head; not below the brain, where a face and a neck would be.
        affine: voxel indices to MNI millimetres.
    """

    image: Volume
    depth_mm: Volume
    domain: Mask
    affine: Affine

    @property
    def centre_mm(self) -> NDArray[np.float64]:
        """Centre of the brain, MNI millimetres."""
        return np.asarray((self.affine @ [*ndimage.center_of_mass(self.depth_mm > 0), 1.0])[:3])

    def points(self, step: int, blur_mm: float) -> FixedPoints:
        """Return every `step`-th voxel of the domain along each axis, the image blurred as the patient's will be."""
        blurred = ndimage.gaussian_filter(self.image, blur_mm / SPACING_MM)
        kept = np.zeros_like(self.domain)
        kept[step // 2 :: step, step // 2 :: step, step // 2 :: step] = True
        index = np.argwhere(kept & self.domain)
        points = index @ self.affine[:3, :3].T + self.affine[:3, 3]
        return FixedPoints(points, blurred[tuple(index.T)].astype(np.float64))


@cache
def synthetic_head() -> SyntheticHead:
    """Build the head, once a process. Raises DataError where nilearn lacks the template."""
    template = read_volume(_template_path())
    padded = np.pad(template.data, PADDING_MM)
    affine = template.affine.copy()
    affine[:3, 3] -= PADDING_MM
    thin = (slice(None, None, SPACING_MM),) * 3
    brain = ndimage.binary_closing(padded[thin] > 0, iterations=2)
    image = ndimage.gaussian_filter(padded, 0.6)[thin] * brain
    affine = affine @ np.diag([SPACING_MM, SPACING_MM, SPACING_MM, 1.0])
    outside = ndimage.distance_transform_edt(~brain) * SPACING_MM
    inside = ndimage.distance_transform_edt(brain) * SPACING_MM
    skull, scalp = FLUID_MM + SKULL_MM, FLUID_MM + SKULL_MM + SCALP_MM
    shells = np.select([outside <= FLUID_MM, outside <= skull, outside <= scalp], [FLUID, SKULL, SCALP], 0.0)
    image = np.where(brain, image, shells)
    domain = (outside <= scalp + AIR_MM) & ~(_below_brain(brain.shape, affine) & (outside > FLUID_MM))
    return SyntheticHead(image.astype(np.float32), (inside - outside).astype(np.float32), domain, affine)


def _below_brain(shape: tuple[int, ...], affine: Affine) -> Mask:
    """Return what lies under a plane from the floor of the frontal lobes down to the cerebellum's."""
    _, j, k = np.ogrid[: shape[0], : shape[1], : shape[2]]
    y, z = affine[1, 1] * j + affine[1, 3], affine[2, 2] * k + affine[2, 3]
    return np.broadcast_to(z < -32 + (y - 60) * (40 / 150), shape)


def _template_path() -> Path:
    spec = find_spec("nilearn")
    path = Path(spec.origin).parent / TEMPLATE if spec is not None and spec.origin is not None else None
    if path is None or not path.is_file():
        raise DataError(
            "brain extraction needs the MNI152 template of nilearn 0.13 or later; pip install 'gliofed[client]', "
            "or give brain masks with the scans"
        )
    return path
