"""Volumes for the tests of imaging: smooth random tissue in an ellipsoid, and a head from the MNI template."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from scipy.spatial.transform import Rotation

from client.imaging.nifti import LoadedVolume, read_volume

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Blob:
    """A brain-like ellipsoid of two tissues and noise-free texture on a 3 mm grid."""

    data: NDArray[np.float32]
    mask: NDArray[np.bool_]
    affine: Array


@pytest.fixture(scope="session")
def blob() -> Blob:
    shape = (44, 52, 40)
    rng = np.random.default_rng(3)
    grid = np.stack(np.meshgrid(*[np.linspace(-1, 1, size) for size in shape], indexing="ij"))
    mask = (grid**2).sum(axis=0) < 0.85
    texture = gaussian_filter(rng.standard_normal(shape), 2.0)
    tissue = np.where(texture > 0, 100.0, 160.0) + 40 * gaussian_filter(rng.standard_normal(shape), 1.0)
    affine = np.diag([3.0, 3.0, 3.0, 1.0])
    affine[:3, 3] = [-66, -78, -60]
    return Blob((tissue * mask).astype(np.float32), mask, affine)


@pytest.fixture
def stored(tmp_path: Path):
    """A function that writes an array as NIfTI and reads it with our reader."""

    def write(data: NDArray[np.generic], affine: Array, name: str = "scan.nii.gz") -> LoadedVolume:
        nib.save(nib.Nifti1Image(data, affine), tmp_path / name)
        return read_volume(tmp_path / name)

    return write


def rigid(angles_deg: tuple[float, float, float], shift_mm: tuple[float, float, float]) -> Array:
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_euler("xyz", angles_deg, degrees=True).as_matrix()
    matrix[:3, 3] = shift_mm
    return matrix


@pytest.fixture(scope="session")
def moved():
    """`rigid`, for tests that may not import this file."""
    return rigid


@pytest.fixture(scope="session")
def overlap():
    """The Dice coefficient of two masks."""
    return lambda one, other: 2 * np.count_nonzero(one & other) / (np.count_nonzero(one) + np.count_nonzero(other))
