"""Why one file of a DICOM folder cannot be used, in words for the person who exported it."""

from __future__ import annotations

from enum import StrEnum


class Reason(StrEnum):
    """Why a file is left out; the value says what it is and what to do."""

    INDEX = "a DICOMDIR index; nothing to do"
    FOREIGN = "not DICOM (no DICM mark); leave it out of the export"
    BROKEN = "cannot be read as DICOM, damaged or cut short; export it again"
    UNREADABLE = "cannot be opened; correct its permissions"
    SPECIAL = "neither a file nor a folder, or a linked folder; copy what it stands for"
    TOO_LARGE = "larger than a scan of a head can be; leave it out of the export"
    COMPRESSED = "compressed or ordered in a way that is not read here; export as Explicit VR Little Endian"
    LOSSY = "stored as JPEG with loss: its values are no longer those measured; export the original images"
    BAD_PIXELS = "its compressed pixels are damaged, cut, or not of the size that its header says; export it again"
    MULTI_FRAME = "several frames in an object that is no Enhanced MR Image; export as classic MR, one image an object"
    NOT_MR = "no MR image (report, other modality, spectroscopy); leave it out of the export"
    SECONDARY = "a secondary capture: a picture of a screen may show a name; leave it out of the export"
    BURNED_IN = "annotation is burned into its pixels and may show a name; leave it out of the export"
    NOT_GREY = "not plain 8- or 16-bit greys; export the original images"
    NO_PATIENT = "no usable PatientID; name and birth date are no substitute: correct it in the archive"
    NO_UID = "a missing or malformed UID; export it again from the archive"
    NO_GEOMETRY = "no usable position, orientation or pixel spacing; export the original images"
    CONTESTED = "another object with a SOPInstanceUID that is there already; its series is refused: export it again"
    COPY = "a copy of an object that is there already; counted once"
