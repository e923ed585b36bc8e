"""The MNI152 (ICBM 2009a, bundled with nilearn) brain as maps that a patient's anatomy is sampled from, offline.

Copyright (C) 1993–2004 Louis Collins, McConnell Brain Imaging Centre, Montreal Neurological Institute, McGill
University. The maps are read from the nilearn wheel and not distributed with GlioFed.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from importlib.util import find_spec
from pathlib import Path

import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from common.errors import DataError
from simulations.phantom.fields import sigmoid
from simulations.phantom.nuclei import draw_nuclei

Array = NDArray[np.float32]

WHITE, GREY, CSF, CAUDATE, PUTAMEN, PALLIDUM, THALAMUS = range(7)
CORTEX = 7
CHANNELS = 8


@dataclass(frozen=True)
class Template:
    """The template brain at one voxel size.

    Attributes:
        spacing_mm: voxel size.
        first_mm: MNI millimetres of voxel (0, 0, 0).
        fractions: white, grey, CSF, four nuclei, and the cortex (1 where sulci may run), (8, I, J, K).
        depth_mm: distance to the brain's surface, positive inside and negative outside, (I, J, K).
    """

    spacing_mm: float
    first_mm: Array
    fractions: Array
    depth_mm: Array

    @cached_property
    def channels_last(self) -> Array:
        """The fractions as rows of voxels, (I J K, 8), so that one look-up fetches all channels."""
        return np.ascontiguousarray(self.fractions.reshape(CHANNELS, -1).T)

    def index(self, points_mm: Array) -> Array:
        """Return the fractional voxel indices of MNI points (3, N)."""
        return np.asarray((points_mm - self.first_mm[:, None]) / np.float32(self.spacing_mm), dtype=np.float32)


@lru_cache(maxsize=3)
def load_template(spacing_mm: float) -> Template:
    """Load the template at `spacing_mm`, averaged over each voxel. Raises DataError where nilearn lacks its maps."""
    step = max(1, round(spacing_mm))
    t1, grey, white = (_read(name) for name in ("t1", "gm", "wm"))
    brain = t1 > 0
    # The group average fills sulci with grey matter; a T1 darker than any grey matter betrays the fluid beneath.
    csf = np.maximum(1 - grey - white, np.clip((150 - t1) / 70, 0, 1)) * brain
    rest = (1 - csf) * brain / np.maximum(grey + white, np.float32(1e-6))
    white, grey, csf, filled = (_average(part, step) for part in (white * rest, grey * rest, csf, brain))
    first_mm = np.array([-98.0, -134.0, -72.0], dtype=np.float32) + np.float32((step - 1) / 2)
    x, y, z = (
        first + step * np.arange(size, dtype=np.float32) for first, size in zip(first_mm, csf.shape, strict=True)
    )
    nuclei = draw_nuclei(x, y, z) * np.clip(filled - csf, 0, 1)
    deep = nuclei.sum(axis=0)
    depth_mm = _signed_depth(filled > 0.5) * np.float32(step)
    cortex = _cortical_zone(x, y, z, depth_mm) * (1 - ndimage.gaussian_filter(deep, 3 / step))
    remaining = 1 - deep
    fractions = np.stack([white * remaining, grey * remaining, csf * remaining, *nuclei, cortex]).astype(np.float32)
    return Template(float(step), first_mm, fractions, depth_mm)


def _average(volume: NDArray[np.generic], step: int) -> Array:
    """Mean over blocks of step³ voxels; what does not fill a block is air and is cut off."""
    if step == 1:
        return np.asarray(volume, dtype=np.float32)
    i, j, k = (size // step for size in volume.shape)
    blocks = volume[: i * step, : j * step, : k * step].reshape(i, step, j, step, k, step)
    return np.asarray(blocks.mean(axis=(1, 3, 5), dtype=np.float32))


def _read(name: str) -> Array:
    """Read one map; T1 as 0 … 255, tissue as 0 … 1."""
    spec = find_spec("nilearn")
    if spec is None or spec.origin is None:
        raise DataError(
            "the phantom's anatomy comes with nilearn, which is not installed; pip install 'gliofed[simulation]'"
        )
    path = Path(spec.origin).parent / "datasets" / "data" / f"mni_icbm152_{name}_tal_nlin_sym_09a_converted.nii.gz"
    if not path.is_file():
        raise DataError(f"nilearn lacks {path.name}; install the nilearn release that pyproject.toml names")
    data = np.asanyarray(nib.load(path).dataobj).astype(np.float32)
    return np.asarray(data if name == "t1" else data / np.float32(255), dtype=np.float32)


def _signed_depth(brain: NDArray[np.bool_]) -> Array:
    inside = ndimage.distance_transform_edt(brain)
    outside = ndimage.distance_transform_edt(~brain)
    return np.asarray(inside - outside, dtype=np.float32)


def _cortical_zone(x: Array, y: Array, z: Array, depth_mm: Array) -> Array:
    """1 where the convexity's sulci run: near the surface, above the brain stem and in front of the cerebellum."""
    tentorium = z[None, :] + 22 - 0.35 * np.maximum(-40 - y[:, None], 0)
    lateral = np.clip(np.abs(x) / 6, 0, 1)
    return np.asarray(sigmoid(19 - depth_mm) * sigmoid(tentorium / 2)[None] * lateral[:, None, None], dtype=np.float32)
