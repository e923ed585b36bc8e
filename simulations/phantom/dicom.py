"""A phantom's volume as the DICOM series that a scanner would send: classic MR, one slice an object, any plane."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from common.shapes import Affine

if TYPE_CHECKING:
    from pydicom import Dataset

MR_IMAGE = "1.2.840.10008.5.1.4.1.1.4"
ROOT = "1.2.826.0.1.3680043.10.54321"
PLANES = {"axial": "LPS", "sagittal": "PIR", "coronal": "LIP"}
"""Where columns, rows and slices count to, as scanners send them."""


@dataclass(frozen=True)
class DicomSeries:
    """One series.

    Attributes:
        patient_id: as the archive numbers the patient.
        study: last numbers of the StudyInstanceUID.
        number: of the series within the study; part of its UID.
        plane: axial, sagittal or coronal.
        scale: RescaleSlope.
        tags: further elements by keyword; None removes one.
    """

    patient_id: str
    study: int
    number: int
    plane: str = "axial"
    scale: float = 1.0
    tags: dict[str, Any] = field(default_factory=dict)

    @property
    def uid(self) -> str:
        """SeriesInstanceUID."""
        return f"{ROOT}.{self.study}.{self.number}"


def write_series(folder: Path, volume: NDArray[np.int16], affine: Affine, series: DicomSeries) -> list[Path]:
    """Write an RAS+ volume as DICOM below `folder`, one file a slice, and return the files."""
    data, place = turned(volume, affine, series.plane)
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for index in range(data.shape[2]):
        dataset = slice_of(data, place, index, series)
        path = folder / f"IM{series.number:03}{index:04}.dcm"
        dataset.save_as(path, enforce_file_format=True)
        paths.append(path)
    return paths


def turned(volume: NDArray[np.int16], affine: Affine, plane: str) -> tuple[NDArray[np.int16], Affine]:
    """Return a volume with axes column, row, slice of `plane`, and its affine to LPS millimetres."""
    start = nib.orientations.io_orientation(affine)
    turn = nib.orientations.ornt_transform(start, nib.orientations.axcodes2ornt(tuple(PLANES[plane])))
    data = nib.orientations.apply_orientation(volume, turn)
    place = affine @ nib.orientations.inv_ornt_aff(turn, volume.shape)
    return data, np.diag([-1.0, -1.0, 1.0, 1.0]) @ place


def slice_of(data: NDArray[np.int16], place: Affine, index: int, series: DicomSeries) -> Dataset:
    """Return one slice with everything that a scanner says of it."""
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian

    spacing = np.linalg.norm(place[:3, :3], axis=0)
    columns, rows = place[:3, 0] / spacing[0], place[:3, 1] / spacing[1]
    position = place @ [0, 0, index, 1]
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    facts: dict[str, Any] = {
        "SOPClassUID": MR_IMAGE,
        "SOPInstanceUID": f"{series.uid}.{index + 1}",
        "SeriesInstanceUID": series.uid,
        "StudyInstanceUID": f"{ROOT}.{series.study}",
        "FrameOfReferenceUID": f"{ROOT}.{series.study}.9999",
        "SpecificCharacterSet": "ISO_IR 192",
        "Modality": "MR",
        "PatientID": series.patient_id,
        "PatientName": "Phantom^Gliofed",
        "StudyDate": "20240102",
        "SeriesNumber": series.number,
        "InstanceNumber": index + 1,
        "AcquisitionNumber": 1,
        "ImageType": ["ORIGINAL", "PRIMARY", "M", "ND"],
        "MRAcquisitionType": "2D",
        "MagneticFieldStrength": 3,
        "SliceThickness": float(spacing[2]),
        "ImageOrientationPatient": [_decimal(each) for each in (*columns, *rows)],
        "ImagePositionPatient": [_decimal(each) for each in position[:3]],
        "PixelSpacing": [_decimal(spacing[1]), _decimal(spacing[0])],
        "Rows": data.shape[1],
        "Columns": data.shape[0],
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "BitsAllocated": 16,
        "BitsStored": 16,
        "HighBit": 15,
        "PixelRepresentation": 1,
        "RescaleSlope": series.scale,
        "RescaleIntercept": 0,
        "PixelData": np.ascontiguousarray(data[:, :, index].T).astype("<i2").tobytes(),
    }
    for keyword, value in (facts | series.tags).items():
        if value is not None:
            setattr(dataset, keyword, value)
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    return dataset


def _decimal(value: float) -> str:
    """Return a number as DICOM's DS holds it, 16 characters at most."""
    return f"{value + 0.0:.10g}"[:16]
