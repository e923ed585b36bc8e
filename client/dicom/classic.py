"""One slice as a classic object of its own, for the converter: its place and pixels alone, in one fragment.

Compressed pixels are copied as they are. No element of the patient, the study or the scanner comes along.
"""

from __future__ import annotations

from pathlib import Path

from client.dicom.header import Header
from client.dicom.pixels import PLAIN

MR_IMAGE = "1.2.840.10008.5.1.4.1.1.4"
ROOT = "2.25.1"
"""Root of UIDs that live as long as one conversion."""


def write_classic(header: Header, path: Path, number: int) -> None:
    """Write one slice as a DICOM file of its own.

    Args:
        header: of a frame, or of an object whose pixels lie in several fragments.
        path: file to write, for the converter alone.
        number: of the slice in its series.
    Raises:
        OSError: where a file cannot be read or written.
        ValueError: where the object has changed since its header was read.
    """
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.encaps import encapsulate
    from pydicom.uid import UID, ExplicitVRLittleEndian

    layout = header.pixels.layout
    compressed = layout.syntax not in PLAIN
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = UID(layout.syntax) if compressed else ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID = UID(MR_IMAGE)
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID = UID(f"{ROOT}.{number}")
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.FrameOfReferenceUID = (f"{ROOT}.0.{n}" for n in "123")
    dataset.Modality, dataset.SeriesNumber, dataset.InstanceNumber, dataset.AcquisitionNumber = "MR", 1, number, 1
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "M"]
    dataset.ImageOrientationPatient = _decimals(header.orientation)
    dataset.ImagePositionPatient = _decimals(header.position_mm)
    dataset.PixelSpacing = _decimals(header.spacing_mm)
    dataset.Rows, dataset.Columns, dataset.SamplesPerPixel = layout.rows, layout.columns, 1
    dataset.PhotometricInterpretation, dataset.PixelRepresentation = "MONOCHROME2", int(layout.signed)
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = layout.bits, layout.stored, layout.stored - 1
    dataset.RescaleSlope, dataset.RescaleIntercept = _decimals((header.slope, header.intercept))
    blob = _pixels(header)
    dataset.add_new("PixelData", "OB" if compressed or layout.bits == 8 else "OW", _even(blob))
    if compressed:
        dataset.PixelData = encapsulate([blob])
    dataset.save_as(path, enforce_file_format=True)


def _pixels(header: Header) -> bytes:
    with header.path.open("rb") as file:
        parts = []
        for start, length in header.pixels.pieces:
            file.seek(start)
            parts.append(file.read(length))
    if any(len(part) != length for part, (_, length) in zip(parts, header.pixels.pieces, strict=True)):
        raise ValueError("the object has changed")
    return b"".join(parts)


def _even(blob: bytes) -> bytes:
    return blob + b"\0" * (len(blob) % 2)


def _decimals(values: tuple[float, ...]) -> list[str]:
    """Return numbers as DICOM's DS holds them, 16 characters at most."""
    from pydicom.valuerep import format_number_as_ds

    return [format_number_as_ds(value) for value in values]
