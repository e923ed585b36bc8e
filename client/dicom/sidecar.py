"""The few facts of a scan that are kept beside it: how it was measured, never when, where or of whom."""

from __future__ import annotations

import json
import re

from client.dicom.header import Header

MAKERS = ("Siemens", "GE", "Philips", "Canon", "Toshiba", "Hitachi", "Fujifilm", "United Imaging", "Bruker", "Esaote")
MOST = {
    "RepetitionTime": 60.0,
    "EchoTime": 60.0,
    "InversionTime": 60.0,
    "FlipAngle": 360.0,
    "MagneticFieldStrength": 25.0,
    "SliceThickness": 50.0,
}
"""Largest value of each measurement that a scanner can mean: seconds, degrees, tesla, millimetres; none is negative."""

MODEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9 .+_-]{0,39}")


def sidecar(header: Header, keep_scanner: bool, lossy: bool = False) -> bytes:
    """Return the JSON of one scan under BIDS' names: seconds, degrees, tesla, millimetres.

    A number that no scanner can mean is left out: a tag may hold anything, a date or an identifier too.

    Args:
        header: of one of its slices.
        lossy: whether values were changed by a compression; DICOM's word for it then says so.
        keep_scanner: whether the site lets manufacturer and model be kept; a manufacturer is one of ours, never text.
    """
    measured = {
        "RepetitionTime": _seconds(header.tr_ms),
        "EchoTime": _seconds(header.te_ms),
        "InversionTime": _seconds(header.ti_ms),
        "FlipAngle": header.flip_deg,
        "MagneticFieldStrength": header.field_tesla,
        "SliceThickness": header.thickness_mm,
    }
    kept: dict[str, float | str | None] = {
        key: value for key, value in measured.items() if value is not None and 0 <= value <= MOST[key]
    }
    kept["LossyImageCompression"] = "01" if lossy else None
    if keep_scanner:
        kept["Manufacturer"] = next(
            (maker for maker in MAKERS if header.manufacturer.upper().startswith(maker.upper())), None
        )
        kept["ManufacturersModelName"] = header.model if MODEL.fullmatch(header.model) else None
    facts = {key: value for key, value in kept.items() if value is not None}
    return json.dumps(facts, indent=1, sort_keys=True).encode() + b"\n"


def _seconds(milliseconds: float | None) -> float | None:
    return None if milliseconds is None else round(milliseconds / 1000, 9)
