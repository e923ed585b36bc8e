"""The header of one MR slice as plain values: foreign bytes become these or a reason, and nothing else."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from client.dicom.codestream import MAY_LOSE
from client.dicom.pixels import Stored
from client.dicom.values import Tags, number, numbers, text, uid, whole, words

KEYWORDS = (
    "SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID", "Modality", "PatientID",
    "IssuerOfPatientID", "PatientBirthDate", "PatientSex", "StudyDate", "SeriesNumber", "InstanceNumber",
    "AcquisitionNumber", "TemporalPositionIdentifier", "EchoNumbers", "ImagesInAcquisition", "SeriesDescription",
    "ProtocolName", "SequenceName", "ImageType", "ScanningSequence", "SequenceVariant", "MRAcquisitionType",
    "RepetitionTime", "EchoTime", "InversionTime", "FlipAngle", "MagneticFieldStrength", "SliceThickness",
    "DiffusionBValue", "ContrastBolusAgent", "ContrastBolusVolume", "BodyPartExamined", "BurnedInAnnotation",
    "Manufacturer", "ManufacturerModelName", "ImageOrientationPatient", "ImagePositionPatient", "PixelSpacing", "Rows",
    "Columns", "NumberOfFrames", "SamplesPerPixel", "BitsAllocated", "BitsStored", "PixelRepresentation",
    "PhotometricInterpretation", "RescaleSlope", "RescaleIntercept", "LossyImageCompression",
)  # fmt: skip
"""All that is looked at in a classic object."""


@dataclass(frozen=True, slots=True)
class Header:
    """One MR slice. Text is as the scanner wrote it and never leaves the process but for the site's own screen.

    Attributes:
        frame: its number within an object of several, 0 where the object is this slice.
        pixels: where its pixels lie.
        stack: the scanner's name of the stack that a frame belongs to.
        labels: SeriesDescription, ProtocolName and SequenceName.
        birth: date of birth and sex; they only tell whether one PatientID means two people.
        orientation: direction of the columns' index, then of the rows', in DICOM's LPS.
        position_mm: centre of the first pixel, LPS.
        spacing_mm: between rows, between columns.
        expected: how many images the acquisition has, where the scanner says so.
        slope, intercept: from stored values to the scanner's.
        lossy: whether its values are no longer those measured, or may not be.
    """

    path: Path
    frame: int
    pixels: Stored
    stack: str
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
    slope: float
    intercept: float
    lossy: bool

    @property
    def name(self) -> str:
        """What tells it from every other slice."""
        return f"{self.sop}/{self.frame}" if self.frame else self.sop


def build_header(path: Path, dataset: Tags, pixels: Stored, frame: int = 0) -> Header:
    """Return the header of one slice from elements as a classic object has them."""
    return Header(
        path=path,
        frame=frame,
        pixels=pixels,
        stack=text(dataset, "StackID"),
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
        slope=1.0 if (slope := number(dataset, "RescaleSlope")) is None else slope,
        intercept=number(dataset, "RescaleIntercept") or 0.0,
        lossy=_lossy(dataset, pixels),
    )


def _lossy(dataset: Tags, pixels: Stored) -> bool:
    """Say whether values may have changed: reversible coding proves nothing where the syntax allows to cut it short."""
    said = text(dataset, "LossyImageCompression")
    return not pixels.lossless or said == "01" or (pixels.layout.syntax == MAY_LOSE and said != "00")
