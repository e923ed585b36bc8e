"""The header of one DICOM object as plain values: foreign bytes become these or a reason, and nothing else.

Pixels are not read. What a converter could trip over is refused before one is started: compression, several frames,
objects that end early.
"""

from __future__ import annotations

import stat
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

from client.dicom.reason import Reason
from client.dicom.values import number, numbers, text, uid, whole, words

if TYPE_CHECKING:
    from pydicom import Dataset

LARGEST_BYTES = 64 * 2**20
"""No single slice is larger, and nothing larger is read into memory."""

MR_IMAGE = "1.2.840.10008.5.1.4.1.1.4"
ENHANCED_MR = ("1.2.840.10008.5.1.4.1.1.4.1", "1.2.840.10008.5.1.4.1.1.4.3", "1.2.840.10008.5.1.4.1.1.4.4")
SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
DIRECTORY = "1.2.840.10008.1.3.10"
PLAIN_SYNTAXES = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1")
"""Implicit and explicit little endian, uncompressed."""
PIXELS = b"\xe0\x7f\x10\x00"
"""The tag of pixel data, little endian."""

NOBODY = frozenset({
    "", "0", "00", "000", "0000", "00000", "000000", "1", "-", ".", "?", "x", "xx", "xxx", "none", "null", "na", "n/a",
    "unknown", "unbekannt", "inconnu", "desconocido", "sconosciuto", "anon", "anonym", "anonymous", "anonymized",
    "anonymised", "anonymisiert", "anonyme", "test", "patient", "noid", "no id", "removed", "deidentified", "phantom",
})  # fmt: skip
"""What stands in PatientID where nobody is named: it would join strangers."""

KEYWORDS = (
    "SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID", "Modality", "PatientID",
    "IssuerOfPatientID", "PatientBirthDate", "PatientSex", "StudyDate", "SeriesNumber", "InstanceNumber",
    "AcquisitionNumber", "TemporalPositionIdentifier", "EchoNumbers", "ImagesInAcquisition", "SeriesDescription",
    "ProtocolName", "SequenceName", "ImageType", "ScanningSequence", "SequenceVariant", "MRAcquisitionType",
    "RepetitionTime", "EchoTime", "InversionTime", "FlipAngle", "MagneticFieldStrength", "SliceThickness",
    "DiffusionBValue", "ContrastBolusAgent", "ContrastBolusVolume", "BodyPartExamined", "BurnedInAnnotation",
    "Manufacturer", "ManufacturerModelName", "ImageOrientationPatient", "ImagePositionPatient", "PixelSpacing", "Rows",
    "Columns", "NumberOfFrames", "SamplesPerPixel", "BitsAllocated", "PhotometricInterpretation",
)  # fmt: skip
"""All that is looked at."""


@dataclass(frozen=True, slots=True)
class Header:
    """One MR slice. Text is as the scanner wrote it and never leaves the process but for the site's own screen.

    Attributes:
        labels: SeriesDescription, ProtocolName and SequenceName.
        birth: date of birth and sex; they only tell whether one PatientID means two people.
        orientation: direction of the columns' index, then of the rows', in DICOM's LPS.
        position_mm: centre of the first pixel, LPS.
        spacing_mm: between rows, between columns.
        expected: how many images the acquisition has, where the scanner says so.
    """

    path: Path
    sop: str
    series: str
    study: str
    patient_id: str
    issuer: str
    birth: tuple[str, str]
    study_date: str
    series_number: int | None
    instance: int | None
    acquisition: int | None
    temporal: int | None
    echo: int | None
    expected: int | None
    labels: tuple[str, str, str]
    image_type: tuple[str, ...]
    scanning: tuple[str, ...]
    variant: tuple[str, ...]
    acquisition_type: str
    tr_ms: float | None
    te_ms: float | None
    ti_ms: float | None
    flip_deg: float | None
    field_tesla: float | None
    thickness_mm: float | None
    b_value: float | None
    agent: str
    agent_ml: float | None
    body_part: str
    manufacturer: str
    model: str
    orientation: tuple[float, ...]
    position_mm: tuple[float, ...]
    spacing_mm: tuple[float, ...]
    rows: int
    columns: int


def read_header(path: Path) -> Header | Reason:
    """Return the header of the object at `path`, or why it cannot be used; never raises for what a file holds."""
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):
            return Reason.SPECIAL
        with path.open("rb") as file:
            return _read(path, file, found.st_size)
    except OSError:
        return Reason.UNREADABLE


def _read(path: Path, file: IO[bytes], size: int) -> Header | Reason:
    if file.read(132)[128:] != b"DICM":
        return Reason.FOREIGN
    if size > LARGEST_BYTES:
        return Reason.TOO_LARGE
    from pydicom import dcmread
    from pydicom.filereader import read_file_meta_info

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # pydicom warns of what is refused or left out below
            meta = read_file_meta_info(path)
            if uid(meta, "MediaStorageSOPClassUID") == DIRECTORY:
                return Reason.INDEX
            if uid(meta, "TransferSyntaxUID") not in PLAIN_SYNTAXES:  # a deflated one would be unpacked, all of it
                return Reason.COMPRESSED if uid(meta, "TransferSyntaxUID") else Reason.BROKEN
            file.seek(0)
            dataset = dcmread(file, stop_before_pixels=True, specific_tags=list(KEYWORDS))
            return _refusal(dataset, _pixel_bytes(file, size)) or _header(path, dataset)
    except Exception:  # on foreign bytes pydicom lets every kind of error through, RecursionError too
        return Reason.BROKEN


def _pixel_bytes(file: IO[bytes], size: int) -> int:
    """Return the most bytes of pixels that can follow in a file that was read up to them; 0 where none begin there."""
    start = file.tell()
    head = file.read(12)
    explicit = head[4:6] in (b"OW", b"OB")
    return max(0, size - start - (12 if explicit else 8)) if head[:4] == PIXELS else 0


def _refusal(dataset: Dataset, pixel_bytes: int) -> Reason | None:
    """Return what forbids the use of an object after whose header `pixel_bytes` follow."""
    kind = uid(dataset, "SOPClassUID")
    if kind.startswith(SECONDARY_CAPTURE) or "SCREEN SAVE" in words(dataset, "ImageType"):
        return Reason.SECONDARY
    if kind in ENHANCED_MR:
        return Reason.MULTI_FRAME
    if kind != MR_IMAGE or text(dataset, "Modality") != "MR":
        return Reason.NOT_MR if kind else Reason.BROKEN
    if (whole(dataset, "NumberOfFrames") or 1) > 1:
        return Reason.MULTI_FRAME
    if text(dataset, "BurnedInAnnotation").upper() not in ("", "NO"):
        return Reason.BURNED_IN
    bits, rows, columns = (whole(dataset, key) or 0 for key in ("BitsAllocated", "Rows", "Columns"))
    grey = text(dataset, "PhotometricInterpretation") == "MONOCHROME2" and whole(dataset, "SamplesPerPixel") == 1
    if bits not in (8, 16) or not grey:
        return Reason.NOT_GREY
    if not (0 < rows <= 4096 and 0 < columns <= 4096):
        return Reason.NO_GEOMETRY
    if pixel_bytes < rows * columns * bits // 8:
        return Reason.BROKEN
    if text(dataset, "PatientID").casefold() in NOBODY or len(text(dataset, "PatientID")) > 64:
        return Reason.NO_PATIENT
    if not all(uid(dataset, key) for key in ("SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID")):
        return Reason.NO_UID
    lengths = (("ImageOrientationPatient", 6), ("ImagePositionPatient", 3), ("PixelSpacing", 2))
    return None if all(len(numbers(dataset, key)) == length for key, length in lengths) else Reason.NO_GEOMETRY


def _header(path: Path, dataset: Dataset) -> Header:
    return Header(
        path=path,
        sop=uid(dataset, "SOPInstanceUID"),
        series=uid(dataset, "SeriesInstanceUID"),
        study=uid(dataset, "StudyInstanceUID"),
        patient_id=text(dataset, "PatientID"),
        issuer=text(dataset, "IssuerOfPatientID"),
        birth=(text(dataset, "PatientBirthDate"), text(dataset, "PatientSex")),
        study_date=text(dataset, "StudyDate"),
        series_number=whole(dataset, "SeriesNumber"),
        instance=whole(dataset, "InstanceNumber"),
        acquisition=whole(dataset, "AcquisitionNumber"),
        temporal=whole(dataset, "TemporalPositionIdentifier"),
        echo=whole(dataset, "EchoNumbers"),
        expected=whole(dataset, "ImagesInAcquisition"),
        labels=(text(dataset, "SeriesDescription"), text(dataset, "ProtocolName"), text(dataset, "SequenceName")),
        image_type=words(dataset, "ImageType"),
        scanning=words(dataset, "ScanningSequence"),
        variant=words(dataset, "SequenceVariant"),
        acquisition_type=text(dataset, "MRAcquisitionType").upper(),
        tr_ms=number(dataset, "RepetitionTime"),
        te_ms=number(dataset, "EchoTime"),
        ti_ms=number(dataset, "InversionTime"),
        flip_deg=number(dataset, "FlipAngle"),
        field_tesla=number(dataset, "MagneticFieldStrength"),
        thickness_mm=number(dataset, "SliceThickness"),
        b_value=number(dataset, "DiffusionBValue"),
        agent=text(dataset, "ContrastBolusAgent"),
        agent_ml=number(dataset, "ContrastBolusVolume"),
        body_part=text(dataset, "BodyPartExamined").upper(),
        manufacturer=text(dataset, "Manufacturer"),
        model=text(dataset, "ManufacturerModelName"),
        orientation=numbers(dataset, "ImageOrientationPatient"),
        position_mm=numbers(dataset, "ImagePositionPatient"),
        spacing_mm=numbers(dataset, "PixelSpacing"),
        rows=whole(dataset, "Rows") or 0,
        columns=whole(dataset, "Columns") or 0,
    )
