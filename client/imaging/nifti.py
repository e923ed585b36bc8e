"""NIfTI files: read strictly into RAS+, written whole or not at all, with their provenance in the header."""

from __future__ import annotations

import gzip
import json
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.nifti1 import Nifti1Extension, Nifti1Image
from nibabel.spatialimages import HeaderDataError, ImageDataError
from nibabel.wrapstruct import WrapStructError
from numpy.typing import NDArray

from client.imaging.orientation import orientation_of, places_voxels, to_canonical, to_native
from common.errors import DataError, GliofedError
from common.files import write_whole
from common.shapes import Affine, Volume

DESCRIPTION_BYTES = 79
COMMENT = 6
"""NIfTI's extension code for plain text."""
SCANNER = 1
"""NIfTI's code for coordinates of the scanner, used where the source names none."""
COMPRESSION = 3
"""Level 3 writes a float volume four times as fast as level 9 and a few per cent larger."""

_UNREADABLE = (
    OSError, EOFError, zlib.error, ImageFileError, HeaderDataError, ImageDataError, WrapStructError,
    ValueError, TypeError, KeyError, OverflowError, MemoryError,
)  # fmt: skip


@dataclass(frozen=True)
class LoadedVolume:
    """One volume as read from a file.

    Attributes:
        path: the file.
        data: voxels (I, J, K) float32, RAS+, all finite.
        affine: voxel indices of `data` to millimetres RAS+, (4, 4).
        description: the header's free text.
        extensions: header extensions that hold JSON objects.
        orientation: the voxel axes on disk, e.g. `LPS`.
        native_shape: shape on disk.
        native_affine: affine on disk.
        coordinate_code: what the affine's millimetres mean (NIfTI's sform or qform code).
    """

    path: Path
    data: Volume
    affine: Affine
    description: str
    extensions: tuple[dict[str, Any], ...]
    orientation: str
    native_shape: tuple[int, int, int]
    native_affine: Affine
    coordinate_code: int

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Voxel size along I, J, K in millimetres."""
        i, j, k = (float(size) for size in np.linalg.norm(self.affine[:3, :3], axis=0))
        return i, j, k


def read_volume(path: Path) -> LoadedVolume:
    """Read a three-dimensional NIfTI image whole.

    A fourth axis of length one is dropped.

    Raises:
        DataError: the file is missing, truncated, damaged, not three-dimensional, has NaN or infinite voxels or an
            affine that places no voxel.
    """
    try:
        image = nib.load(path)
        shape = _three_axes(path, image.shape)
        affine = np.asarray(image.affine, dtype=np.float64)
        _check_affine(path, affine)
        raw = np.asanyarray(image.dataobj)
        if raw.dtype.kind not in "iuf":
            raise DataError(f"{path}: its voxels are {raw.dtype}, not plain numbers; export it again as grey values")
        with np.errstate(over="ignore"):
            data = raw.astype(np.float32).reshape(shape)
    except FileNotFoundError:
        raise DataError(f"{path}: no such file; run catalog to see what the folder holds") from None
    except _UNREADABLE as error:
        text = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise DataError(f"{path}: cannot be read, truncated or damaged ({text}); export or copy it again") from None
    if not np.isfinite(data).all():
        bad = int(np.count_nonzero(~np.isfinite(data)))
        raise DataError(f"{path}: {bad} voxels are NaN or infinite; set them to 0 or export the scan again")
    straight, canonical = to_canonical(data, affine)
    return LoadedVolume(
        path=path,
        data=np.ascontiguousarray(straight),
        affine=canonical,
        description=image.header["descrip"].tobytes().split(b"\0")[0].decode("ascii", "replace"),
        extensions=_json_extensions(image),
        orientation=orientation_of(affine),
        native_shape=shape,
        native_affine=affine,
        coordinate_code=int(image.header["sform_code"]) or int(image.header["qform_code"]) or SCANNER,
    )


def _three_axes(path: Path, shape: tuple[int, ...]) -> tuple[int, int, int]:
    kept = shape[:3] if len(shape) == 4 and shape[3] == 1 else shape
    if len(kept) != 3 or min(kept) < 1:
        text = " x ".join(map(str, shape))
        raise DataError(f"{path}: has {len(shape)} dimensions ({text}) where 3 are expected; export one volume a file")
    i, j, k = kept
    return i, j, k


def _check_affine(path: Path, affine: Affine) -> None:
    if not places_voxels(affine):
        raise DataError(f"{path}: its affine places no voxel in space; convert it from DICOM again")


def _json_extensions(image: Any) -> tuple[dict[str, Any], ...]:
    found = []
    for extension in image.header.extensions:
        try:  # the bytes themselves: nibabel's own reading of some kinds may raise anything
            tree = json.loads(extension.content.decode("utf-8", "replace").strip("\0 \n"))
        except (ValueError, RecursionError):
            continue
        if isinstance(tree, dict):
            found.append(tree)
    return tuple(found)


def write_volume(
    path: Path,
    data: NDArray[Any],
    affine: Affine,
    *,
    description: str = "",
    extension: dict[str, Any] | None = None,
    like: LoadedVolume | None = None,
) -> None:
    """Write an RAS+ volume; two writes of the same content give the same bytes.

    Whole numbers keep their type, all else is written as float32: nothing is rounded. Of `like`'s header nothing is
    taken but its geometry, since free text may name a person.

    Args:
        path: ends in `.nii` or `.nii.gz`.
        data: voxels (I, J, K), RAS+.
        affine: voxel indices to millimetres RAS+.
        description: at most 79 ASCII characters.
        extension: facts for a header extension, as JSON.
        like: a volume on the same RAS+ grid whose orientation and affine on disk are restored.
    Raises:
        DataError: where the disk is full or the folder cannot be written; nothing stays behind.
        ValueError: where the description is too long, or `like` lies on another grid.
    """
    if not description.isascii() or len(description) > DESCRIPTION_BYTES:
        raise ValueError(f"a NIfTI description holds {DESCRIPTION_BYTES} ASCII characters")
    if like is not None:
        if data.shape != like.data.shape or not np.allclose(affine, like.affine, atol=1e-3):
            raise ValueError("the volume does not lie on the grid of `like`")
        data, affine = to_native(data, like.native_affine), like.native_affine
    kept = data if data.dtype.kind in "iu" else data.astype(np.float32)
    image = Nifti1Image(np.asfortranarray(kept), affine, dtype=kept.dtype)
    code = like.coordinate_code if like is not None else SCANNER
    image.set_sform(affine, code)
    image.set_qform(affine, code, strip_shears=True)
    image.header.set_xyzt_units("mm")
    image.header["descrip"] = description.encode()
    if extension is not None:
        image.header.extensions.append(Nifti1Extension(COMMENT, json.dumps(extension, sort_keys=True).encode()))
    blob = image.to_bytes()
    try:
        write_whole(path, gzip.compress(blob, COMPRESSION, mtime=0) if path.suffix == ".gz" else blob)
    except GliofedError as error:
        raise DataError(str(error)) from None
