"""One NIfTI file read whole and once, so that every check can look at it; damage becomes one error type."""

from __future__ import annotations

import gzip
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from nibabel.spatialimages import HeaderDataError, ImageDataError
from nibabel.wrapstruct import WrapStructError
from numpy.typing import NDArray

from client.imaging.orientation import places_voxels
from common.shapes import Affine

GZIP_MAGIC = b"\x1f\x8b"
HEADER_BYTES = 4096
NIFTI_2_SIZE = 540
DAMAGE = (HeaderDataError, ImageDataError, WrapStructError, ValueError, OverflowError, TypeError, KeyError, MemoryError)


class UnreadableError(Exception):
    """The file cannot be decoded; the message says how."""


@dataclass(frozen=True)
class RawScan:
    """A decoded file, before anything was made of it.

    Attributes:
        path: where it lies.
        header: nibabel's header.
        shape: as the header says, any number of axes; a last one of length 1 is left out.
        affine: voxel to millimetres RAS+, shape (4, 4).
        data: the volume (I, J, K) float32 in canonical RAS+ axis order, None where the image is not three-dimensional.
        canonical: the affine that belongs to `data`.
    """

    path: Path
    header: Any
    shape: tuple[int, ...]
    affine: Affine
    data: NDArray[np.float32] | None
    canonical: Affine

    @property
    def volume(self) -> NDArray[np.float32]:
        """The voxels. Raises ValueError where the image is not three-dimensional."""
        if self.data is None:
            raise ValueError("no volume")
        return self.data


def read_scan(path: Path) -> RawScan:
    """Decode a NIfTI file in full, checksum included. Raises UnreadableError."""
    try:
        return _decode(path)
    except EOFError:
        raise UnreadableError("truncated: the compressed data end too early") from None
    except (zlib.error, gzip.BadGzipFile):
        raise UnreadableError("damaged: the compressed data do not match their checksum") from None
    except OSError as error:  # nibabel's word for missing bytes, or the system's
        raise UnreadableError(error.strerror or f"truncated: {_first_line(error)}") from None
    except DAMAGE as error:
        raise UnreadableError(f"not a NIfTI image: {_first_line(error)}") from None


def _decode(path: Path) -> RawScan:
    blob = path.read_bytes()
    zipped = path.suffix == ".gz"
    if zipped != blob.startswith(GZIP_MAGIC):
        raise UnreadableError("its name and its content disagree on gzip compression")
    # The header comes first and alone, so that a huge series is refused without being unpacked.
    start = zlib.decompressobj(31).decompress(blob, HEADER_BYTES) if zipped else blob[:HEADER_BYTES]
    kind = nib.Nifti2Image if NIFTI_2_SIZE in _sizes(start) else nib.Nifti1Image
    header = kind.header_class(start[: max(_sizes(start))], check=False)
    shape = tuple(int(size) for size in header.get_data_shape())
    shape = shape[:3] if shape[3:] == (1,) else shape  # a series of one volume is that volume
    if header.get_data_dtype().kind not in "iuf":
        raise UnreadableError(f"its voxels are {header.get_data_dtype()}, not plain numbers")
    if len(shape) != 3 or min(shape) < 1:
        affine = header.get_best_affine()
        return RawScan(path, header, shape, affine, None, affine)
    image = kind.from_bytes(gzip.decompress(blob) if zipped else blob)
    with np.errstate(all="ignore"):  # the values are judged later
        straight = nib.as_closest_canonical(image) if places_voxels(image.affine) else image
        data = np.asarray(straight.dataobj).reshape(straight.shape[:3])
        data = np.ascontiguousarray(data, dtype=np.float32)
    return RawScan(path, image.header, shape, image.affine, data, straight.affine)


def _sizes(start: bytes) -> tuple[int, ...]:
    """Return the header sizes, in either byte order, that the first bytes can mean: 348 NIfTI-1, 540 NIfTI-2."""
    orders: tuple[str, ...] = ("little", "big")
    sizes = tuple(int.from_bytes(start[:4], order) for order in orders)  # type: ignore[arg-type]
    if not {348, NIFTI_2_SIZE} & set(sizes) or len(start) < 348:
        raise UnreadableError("not a NIfTI image: no header of 348 or 540 bytes")
    return tuple(size for size in sizes if size in (348, NIFTI_2_SIZE))


def _first_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
