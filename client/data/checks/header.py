"""What a header says of space: dimensions, spacing, handedness."""

from __future__ import annotations

import numpy as np
from nibabel.spatialimages import HeaderDataError

from client.data.checks.finding import Finding, Severity
from client.data.checks.reading import RawScan
from client.imaging.orientation import places_voxels

SPACING_MM = (0.2, 12.0)
EXTENT_MM = (80.0, 500.0)
MINIMUM_VOXELS = 4


def check_header(scan: RawScan, case: str) -> list[Finding]:
    """Return findings about dimensions, spacing and orientation of one file."""
    if len(scan.shape) != 3 or min(scan.shape) < MINIMUM_VOXELS:
        return _dimensions(scan, case)
    return [*_spacing(scan, case), *_handedness(scan, case)]


def _dimensions(scan: RawScan, case: str) -> list[Finding]:
    text = f"{len(scan.shape)} dimensions of {' x '.join(map(str, scan.shape))} voxels, expected a volume of three"
    remedy = "save the one volume that is meant; a series or a single slice cannot be used"
    return [Finding(Severity.ERROR, case, scan.path, text, remedy, "dimensions")]


def _spacing(scan: RawScan, case: str) -> list[Finding]:
    """Spacing outside 0.2 … 12 mm is an error; an extent that holds no head (80 … 500 mm) is a warning."""
    if not places_voxels(scan.affine):
        remedy = "export the scan again, or restore its affine"
        return [Finding(Severity.ERROR, case, scan.path, "its affine places no voxel in space", remedy, "spacing")]
    spacing = np.linalg.norm(scan.affine[:3, :3], axis=0)
    shown = " x ".join(f"{step:.3g}" for step in spacing)
    remedy = "correct the voxel size in the header (it may be in metres or micrometres, or lost in conversion)"
    if not ((spacing >= SPACING_MM[0]) & (spacing <= SPACING_MM[1])).all():
        text = f"implausible spacing {shown} mm, expected {SPACING_MM[0]} to {SPACING_MM[1]:g}"
        return [Finding(Severity.ERROR, case, scan.path, text, remedy, "spacing")]
    extent = spacing * np.array(scan.shape)
    if not ((extent >= EXTENT_MM[0]) & (extent <= EXTENT_MM[1])).all():
        text = f"implausible spacing {shown} mm: the image is {' x '.join(f'{size:.0f}' for size in extent)} mm large"
        return [Finding(Severity.WARNING, case, scan.path, text, remedy, "spacing")]
    return []


def _handedness(scan: RawScan, case: str) -> list[Finding]:
    """The two affines that a NIfTI header can hold must not mirror each other, and one of them must be there."""
    sform, sform_code = scan.header.get_sform(coded=True)
    try:
        qform, qform_code = scan.header.get_qform(coded=True)
    except (HeaderDataError, ValueError):
        text = "left-right swap cannot be ruled out: the qform holds no rotation"
        remedy = "convert it from DICOM again, or make the qform agree with the sform"
        return [Finding(Severity.WARNING, case, scan.path, text, remedy, "left-right")]
    if sform_code and qform_code and np.linalg.det(sform[:3, :3]) * np.linalg.det(qform[:3, :3]) < 0:
        text = "left-right swap suspected: sform and qform have opposite handedness"
        remedy = "find out which is right (a fiducial, the report) and make the other agree"
        return [Finding(Severity.WARNING, case, scan.path, text, remedy, "left-right")]
    if not sform_code and not qform_code:
        text = "left-right swap cannot be ruled out: neither sform nor qform is set"
        remedy = "convert it from DICOM again; Analyze-style files say nothing of left and right"
        return [Finding(Severity.WARNING, case, scan.path, text, remedy, "left-right")]
    return []
