"""One DICOM object to the headers of its slices, or the reason why it cannot be used.

Pixels are not decoded. What a converter could trip over is refused before one is started: codings that it does not
know, objects that end early, sizes that no head has.
"""

from __future__ import annotations

import stat
import warnings
from io import BytesIO
from pathlib import Path
from typing import IO, TYPE_CHECKING

from client.dicom.frames import FRAME_KEYWORDS, flatten
from client.dicom.geometry import MOST_VOXELS
from client.dicom.header import KEYWORDS, Header, build_header
from client.dicom.metered import Metered, SpentError
from client.dicom.pixels import LOSSY, SYNTAXES, Layout, locate
from client.dicom.reason import Reason
from client.dicom.values import Tags, numbers, text, uid, whole, words

if TYPE_CHECKING:
    from pydicom import Dataset

LARGEST_SLICE_BYTES = 64 * 2**20
"""No object of a single slice is larger."""

LARGEST_BYTES = 2**30
"""No object of several is larger."""

MOST_HEADER_BYTES = 16 * 2**20
"""Read of one object's header; scanners write about ten kilobytes a frame. The worst fills 170 times its bytes."""

MOST_FRAMES = 4096
META_BYTES = 65_536
MR_IMAGE = "1.2.840.10008.5.1.4.1.1.4"
ENHANCED_MR = "1.2.840.10008.5.1.4.1.1.4.1"
OTHER_FRAMES = ("1.2.840.10008.5.1.4.1.1.4.3", "1.2.840.10008.5.1.4.1.1.4.4")
"""Enhanced MR in colour, and objects that an archive joined of classic ones."""

SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
DIRECTORY = "1.2.840.10008.1.3.10"

NOBODY = frozenset({
    "", "0", "00", "000", "0000", "00000", "000000", "1", "-", ".", "?", "x", "xx", "xxx", "none", "null", "na", "n/a",
    "unknown", "unbekannt", "inconnu", "desconocido", "sconosciuto", "anon", "anonym", "anonymous", "anonymized",
    "anonymised", "anonymisiert", "anonyme", "test", "patient", "noid", "no id", "removed", "deidentified", "phantom",
})  # fmt: skip
"""What stands in PatientID where nobody is named: it would join strangers."""


def read_object(path: Path) -> tuple[Header, ...] | Reason:
    """Return the headers of the object at `path`, or why it cannot be used; never raises for what a file holds."""
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):
            return Reason.SPECIAL
        with path.open("rb") as file:
            return _read(path, file, found.st_size)
    except OSError:
        return Reason.UNREADABLE


def _read(path: Path, file: IO[bytes], size: int) -> tuple[Header, ...] | Reason:
    head = file.read(META_BYTES)
    if head[128:132] != b"DICM":
        return Reason.FOREIGN
    if size > LARGEST_BYTES:
        return Reason.TOO_LARGE
    from pydicom import dcmread
    from pydicom.filereader import read_dataset

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # pydicom warns of what is refused or left out below
            meta = read_dataset(BytesIO(head[132:]), False, True, stop_when=lambda tag, vr, length: tag >> 16 != 2)
            syntax = uid(meta, "TransferSyntaxUID")
            if uid(meta, "MediaStorageSOPClassUID") == DIRECTORY:
                return Reason.INDEX
            if syntax not in SYNTAXES:  # a deflated one would be unpacked, all of it
                return Reason.LOSSY if syntax in LOSSY else Reason.COMPRESSED if syntax else Reason.BROKEN
            file.seek(0)
            dataset = dcmread(
                Metered(file, MOST_HEADER_BYTES),
                stop_before_pixels=True,
                specific_tags=[*KEYWORDS, *FRAME_KEYWORDS],
            )
            return _refusal(dataset, size) or _headers(path, file, size, dataset, syntax)
    except SpentError:
        return Reason.TOO_LARGE
    except Exception:  # on foreign bytes pydicom lets every kind of error through, RecursionError too
        return Reason.BROKEN


def _refusal(dataset: Dataset, size: int) -> Reason | None:
    """Return what forbids the use of an object of `size` bytes, whatever its pixels are."""
    kind, frames = uid(dataset, "SOPClassUID"), whole(dataset, "NumberOfFrames") or 1
    if kind.startswith(SECONDARY_CAPTURE) or "SCREEN SAVE" in words(dataset, "ImageType"):
        return Reason.SECONDARY
    if kind in OTHER_FRAMES:
        return Reason.MULTI_FRAME
    if kind not in (MR_IMAGE, ENHANCED_MR) or text(dataset, "Modality") != "MR":
        return Reason.NOT_MR if kind else Reason.BROKEN
    if kind == MR_IMAGE and frames > 1:
        return Reason.MULTI_FRAME
    if text(dataset, "BurnedInAnnotation").upper() not in ("", "NO"):
        return Reason.BURNED_IN
    bits, rows, columns = (whole(dataset, key) or 0 for key in ("BitsAllocated", "Rows", "Columns"))
    grey = text(dataset, "PhotometricInterpretation") == "MONOCHROME2" and whole(dataset, "SamplesPerPixel") == 1
    if bits not in (8, 16) or not grey:
        return Reason.NOT_GREY
    if not (0 < rows <= 4096 and 0 < columns <= 4096):
        return Reason.NO_GEOMETRY
    if not 0 < frames <= MOST_FRAMES or rows * columns * frames > MOST_VOXELS:
        return Reason.TOO_LARGE
    if kind == MR_IMAGE and size > LARGEST_SLICE_BYTES:
        return Reason.TOO_LARGE
    if text(dataset, "PatientID").casefold() in NOBODY or len(text(dataset, "PatientID")) > 64:
        return Reason.NO_PATIENT
    known = all(uid(dataset, key) for key in ("SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID"))
    return None if known else Reason.NO_UID


def _headers(path: Path, file: IO[bytes], size: int, dataset: Dataset, syntax: str) -> tuple[Header, ...] | Reason:
    """Return one header a slice, in the order of the object's pixels."""
    enhanced = uid(dataset, "SOPClassUID") == ENHANCED_MR
    stored = locate(file, size, _layout(dataset, syntax))
    if isinstance(stored, Reason):
        return stored
    slices: list[Tags] = list(flatten(dataset, len(stored))) if enhanced else [dataset]
    if len(slices) != len(stored):
        return Reason.BROKEN
    if not all(_placed(each) for each in slices):
        return Reason.NO_GEOMETRY
    return tuple(
        build_header(path, tags, pixels, number if enhanced else 0)
        for number, (tags, pixels) in enumerate(zip(slices, stored, strict=True), start=1)
    )


def _layout(dataset: Dataset, syntax: str) -> Layout:
    bits, rows, columns = (whole(dataset, key) or 0 for key in ("BitsAllocated", "Rows", "Columns"))
    stored = whole(dataset, "BitsStored") or bits
    return Layout(
        syntax=syntax,
        frames=whole(dataset, "NumberOfFrames") or 1,
        rows=rows,
        columns=columns,
        bits=bits,
        stored=stored if 0 < stored <= bits else bits,
        signed=whole(dataset, "PixelRepresentation") == 1,
    )


def _placed(tags: Tags) -> bool:
    lengths = (("ImageOrientationPatient", 6), ("ImagePositionPatient", 3), ("PixelSpacing", 2))
    return all(len(numbers(tags, key)) == length for key, length in lengths)
