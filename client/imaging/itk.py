"""Volumes as SimpleITK images and back: RAS+ axes and millimetres here, LPS+ there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import SimpleITK as sitk  # noqa: N813 - the name everyone knows it by
from numpy.typing import NDArray

from common.shapes import Affine

RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


@contextmanager
def one_thread() -> Iterator[None]:
    """Let ITK work in one thread, so that sums do not depend on how many processors there are.

    A registration's own number of threads does not reach its metric; the global one does.
    """
    before = sitk.ProcessObject.GetGlobalDefaultNumberOfThreads()
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    try:
        yield
    finally:
        sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(before)


def to_itk(data: NDArray[Any], affine: Affine) -> Any:
    """Return an RAS+ volume (I, J, K) as an image; masks become uint8, all else float32.

    A shear, which ITK cannot hold, is replaced by the nearest rotation.
    """
    kind = np.uint8 if data.dtype.kind in "bu" else np.float32
    image = sitk.GetImageFromArray(np.ascontiguousarray(data.transpose(2, 1, 0), dtype=kind))
    world = RAS_TO_LPS @ affine
    spacing = np.linalg.norm(world[:3, :3], axis=0)
    left, _, right = np.linalg.svd(world[:3, :3] / spacing)
    image.SetSpacing(spacing.tolist())
    image.SetOrigin(world[:3, 3].tolist())
    image.SetDirection((left @ right).ravel().tolist())
    return image


def from_itk(image: Any) -> NDArray[Any]:
    """Return the voxels of an image as (I, J, K)."""
    return np.asarray(sitk.GetArrayFromImage(image).transpose(2, 1, 0))


def transform_matrix(transform: Any) -> Affine:
    """Return a linear ITK transform as a matrix (4, 4) on RAS+ millimetres."""
    centre = np.array(transform.GetCenter())
    linear = np.array(transform.GetMatrix()).reshape(3, 3)
    matrix = np.eye(4)
    matrix[:3, :3] = linear
    matrix[:3, 3] = centre + np.array(transform.GetTranslation()) - linear @ centre
    return np.asarray(RAS_TO_LPS @ matrix @ RAS_TO_LPS)
