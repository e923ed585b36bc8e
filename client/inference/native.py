"""Native space: the voxel grid of a case's reference sequence, and the way from study-grid slices to it.

Study-grid voxels are several millimetres wide, so a picture drawn there is blurred on a finer native grid. Where the
case has a real image of the same anatomy, its fine detail, what the study grid cannot hold, is added back; the drawing
decides all that the study grid resolves. Averages across the edge of the brain count brain alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from client.data.cache import CachedCase
from client.data.catalog import CatalogCase
from client.imaging.intensity import GreyScale
from client.imaging.nifti import LoadedVolume, read_volume
from client.imaging.resample import to_grid
from common.errors import DataError
from common.sequences import Sequence
from common.shapes import Affine, Mask, Volume

BACKGROUND = np.float32(-1)
MARGIN_MM = 6.0
EDGE = np.float32(1e-3)


@dataclass(frozen=True)
class NativeSpace:
    """The grid on which a case's outputs are written, and the box of it around the brain, where all the work is done.

    Attributes:
        like: the reference sequence as it was read, whose orientation and header facts are restored on writing.
        sequence: the reference sequence.
        box: where the box lies in the native grid, (I, J, K).
        affine: voxels of the box, RAS+, to millimetres.
        study_affine: study-grid voxels (I, J, K) to the same millimetres.
        study_brain: brain mask on the study grid, (I, J, K).
        brain: brain mask in the box, (I, J, K).
    """

    like: LoadedVolume
    sequence: Sequence
    box: tuple[slice, slice, slice]
    affine: Affine
    study_affine: Affine
    study_brain: Volume
    brain: Mask

    @property
    def shape(self) -> tuple[int, int, int]:
        """Voxels of the box along I, J and K."""
        i, j, k = self.brain.shape
        return i, j, k

    @property
    def voxel_ml(self) -> float:
        """Volume of one native voxel."""
        return float(abs(np.linalg.det(self.affine[:3, :3]))) / 1000

    def whole(self, volume: NDArray[Any]) -> NDArray[Any]:
        """Return a volume of the box on the whole native grid, 0 around the box."""
        full = np.zeros(self.like.data.shape, dtype=volume.dtype)
        full[self.box] = volume
        return full

    def image(self, slices: NDArray[np.float32]) -> Volume:
        """Return study-grid slices (K, H, W) in [-1, 1] in the box, -1 outside the brain."""
        return np.where(self.brain, self._up(_volume(slices)), BACKGROUND)

    def probability(self, slices: NDArray[np.float32]) -> Volume:
        """Return study-grid probabilities (K, H, W) in the box, 0 outside the brain."""
        return np.where(self.brain, self._up(_volume(slices)), np.float32(0))

    def detail(self, native: Volume) -> Volume:
        """Return what of a native image in [-1, 1] the study grid cannot hold: the image less its own blurred copy."""
        total = to_grid(
            np.where(self.brain, native, np.float32(0)), self.affine, self.study_brain.shape, self.study_affine
        )
        coarse = (total / np.maximum(self._weight_down, EDGE)).astype(np.float32)
        fine: Volume = native - self._up(coarse)
        return np.where(self.brain, fine, np.float32(0))

    def sharpened(self, slices: NDArray[np.float32], detail: Volume) -> Volume:
        """Return study-grid slices in the box with `detail` added, in [-1, 1], -1 outside the brain."""
        return np.where(self.brain, np.clip(self.image(slices) + detail, -1, 1), BACKGROUND)

    @cached_property
    def _weight_down(self) -> Volume:
        """How much of each study-grid voxel's surroundings is native brain."""
        return to_grid(self.brain.astype(np.float32), self.affine, self.study_brain.shape, self.study_affine)

    @cached_property
    def _weight_up(self) -> Volume:
        """How much of each native voxel's surroundings is study-grid brain."""
        return np.maximum(to_grid(self.study_brain, self.study_affine, self.shape, self.affine), EDGE)

    def _up(self, coarse: Volume) -> Volume:
        """Return a study-grid volume in the box, interpolated among brain voxels alone."""
        total = to_grid(coarse * self.study_brain, self.study_affine, self.shape, self.affine)
        return (total / self._weight_up).astype(np.float32)


def open_native(case: CatalogCase, cached: CachedCase) -> NativeSpace:
    """Read the reference sequence of a case and place the brain mask on its grid.

    Raises:
        DataError: where the scan is no longer what was prepared.
    """
    sequence = Sequence(cached.native["reference"])
    facts = cached.native["sequences"][sequence.value]
    like = read_volume(case.images[sequence])
    if list(like.data.shape) != list(facts["shape"]) or not np.allclose(like.affine, facts["affine"], atol=1e-3):
        raise DataError(f"{case.images[sequence]}: changed since it was prepared; run prepare again")
    study_brain = _volume(cached.brain()).astype(np.float32)
    box = _box(study_brain, cached.affine, like)
    affine = like.affine.copy()
    affine[:3, 3] = (like.affine @ [*(edge.start for edge in box), 1])[:3]
    shape = [edge.stop - edge.start for edge in box]
    brain = to_grid(study_brain, cached.affine, shape, affine) >= 0.5
    return NativeSpace(like, sequence, box, affine, cached.affine, study_brain, brain)


def _box(study_brain: Volume, study_affine: Affine, like: LoadedVolume) -> tuple[slice, slice, slice]:
    """Return the native voxels that hold the study grid's brain and `MARGIN_MM` around it, cut at the native border."""
    found = np.argwhere(study_brain > 0)
    corners = np.array(list(product(*zip(found.min(axis=0) - 1, found.max(axis=0) + 1, strict=True))), dtype=np.float64)
    world = corners @ study_affine[:3, :3].T + study_affine[:3, 3]
    native = (world - like.affine[:3, 3]) @ np.linalg.inv(like.affine[:3, :3]).T
    margin = MARGIN_MM / np.asarray(like.spacing_mm)
    low = np.clip(np.floor(native.min(axis=0) - margin), 0, np.array(like.data.shape) - 1).astype(int)
    high = np.clip(np.ceil(native.max(axis=0) + margin), 0, np.array(like.data.shape) - 1).astype(int) + 1
    i, j, k = (slice(int(start), int(stop)) for start, stop in zip(low, high, strict=True))
    return i, j, k


def native_image(case: CatalogCase, cached: CachedCase, space: NativeSpace, sequence: Sequence) -> Volume:
    """Return a real sequence in the box, grey-normalised with the case's constants, -1 outside the brain.

    It is carried there by the rigid transform found in preparation, and is not bias-corrected.
    """
    if sequence == space.sequence:
        volume = space.like.data[space.box]
    else:
        loaded = read_volume(case.images[sequence])
        world = np.asarray(cached.native["sequences"][sequence.value]["to_reference"], dtype=np.float64)
        volume = to_grid(loaded.data, world @ loaded.affine, space.shape, space.affine)
    return np.where(space.brain, scale_of(cached.greys[sequence.value]).apply(volume), BACKGROUND)


def scale_of(constants: Mapping[str, Any]) -> GreyScale:
    """Return the grey scale that a cache or a release recorded."""
    return GreyScale(**constants)


def _volume(slices: NDArray[np.generic]) -> NDArray[Any]:
    """Return slices (K, H, W) as a volume (I, J, K)."""
    return slices.transpose(1, 2, 0)
