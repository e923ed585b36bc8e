"""The frames of an Enhanced MR object, each as a classic object would say it: functional groups become plain elements.

Source: DICOM PS3.3, C.8.13 (Enhanced MR) and C.7.6.16 (functional groups). What is not listed here is not looked at.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from client.dicom.values import Tags, items, text, value, words

if TYPE_CHECKING:
    from pydicom import Dataset

SHARED, EACH = "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"
OBJECT = (
    "SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID", "PatientID", "IssuerOfPatientID", "PatientBirthDate",
    "PatientSex", "StudyDate", "SeriesNumber", "SeriesDescription", "ProtocolName", "MRAcquisitionType",
    "MagneticFieldStrength", "BodyPartExamined", "Manufacturer", "ManufacturerModelName", "Rows", "Columns",
    "LossyImageCompression",
)  # fmt: skip
"""Elements that an enhanced object has as a classic one has them."""

GROUPS: dict[str, dict[str, str]] = {
    "PixelMeasuresSequence": {"PixelSpacing": "PixelSpacing", "SliceThickness": "SliceThickness"},
    "PlanePositionSequence": {"ImagePositionPatient": "ImagePositionPatient"},
    "PlaneOrientationSequence": {"ImageOrientationPatient": "ImageOrientationPatient"},
    "FrameContentSequence": {
        "StackID": "StackID",
        "TemporalPositionIndex": "TemporalPositionIdentifier",
        "FrameAcquisitionNumber": "AcquisitionNumber",
    },
    "MRTimingAndRelatedParametersSequence": {"RepetitionTime": "RepetitionTime", "FlipAngle": "FlipAngle"},
    "MREchoSequence": {"EffectiveEchoTime": "EchoTime"},
    "MRModifierSequence": {"InversionTimes": "InversionTime"},
    "MRDiffusionSequence": {"DiffusionBValue": "DiffusionBValue"},
    "PixelValueTransformationSequence": {"RescaleSlope": "RescaleSlope", "RescaleIntercept": "RescaleIntercept"},
}
"""Functional group → its element → how a classic object calls it."""

FRAME_TYPE, USAGE, AGENTS = "MRImageFrameTypeSequence", "ContrastBolusUsageSequence", "ContrastBolusAgentSequence"
COMPONENT, NUMBER = "ComplexImageComponent", "ContrastBolusAgentNumber"
FRAME_KEYWORDS = (
    *(SHARED, EACH, AGENTS, "PulseSequenceName", "EchoPulseSequence", "EchoPlanarPulseSequence", "InversionRecovery"),
)
"""Elements of an object that only enhanced ones have."""

ECHOES = {"SPIN": ("SE",), "GRADIENT": ("GR",), "BOTH": ("SE", "GR")}
"""EchoPulseSequence → ScanningSequence."""


def flatten(dataset: Dataset, frames: int) -> Iterator[Tags]:
    """Yield the elements of each frame, in their order; nothing where the object describes another number of frames."""
    each = items(dataset, EACH)
    if len(each) != frames:
        return
    shared = next(iter(items(dataset, SHARED)), dict[str, Any]())
    common = {keyword: value(dataset, keyword) for keyword in OBJECT}
    common |= {"SequenceName": value(dataset, "PulseSequenceName")}
    for number, own in enumerate(each, start=1):
        yield common | {"InstanceNumber": number} | _frame(dataset, shared, own)


def _frame(dataset: Tags, shared: Tags, own: Tags) -> dict[str, Any]:
    """Return what the functional groups of one frame say; its own come before those that all share."""
    found: dict[str, Any] = {}
    for group, elements in GROUPS.items():
        for item in (items(own, group) or items(shared, group))[:1]:
            found |= {name: value(item, keyword) for keyword, name in elements.items()}
    kind = next(iter(items(own, FRAME_TYPE) or items(shared, FRAME_TYPE)), dataset)
    frame_type = words(kind, "FrameType") or words(dataset, "ImageType")
    component = words(kind, COMPONENT)
    found["ImageType"] = [*frame_type, *(word for word in component if word not in ("MAGNITUDE", "MIXED"))]
    modifier = next(iter(items(own, "MRModifierSequence") or items(shared, "MRModifierSequence")), dataset)
    found["ScanningSequence"] = _scanning(dataset, text(modifier, "InversionRecovery") == "YES")
    return found | _agent(dataset, items(own, USAGE) or items(shared, USAGE))


def _scanning(dataset: Tags, inverted: bool) -> list[str]:
    planar = text(dataset, "EchoPlanarPulseSequence") == "YES"
    echoes = ECHOES.get(text(dataset, "EchoPulseSequence"), words(dataset, "ScanningSequence"))
    return [*echoes, *(["EP"] if planar else []), *(["IR"] if inverted else [])]


def _agent(dataset: Tags, usage: list[Tags]) -> dict[str, Any]:
    """Return contrast agent and volume as a classic object writes them.

    Agents are listed once an object; which of them a frame had is in its functional group. Without one, the list alone
    speaks, and then only an agent that is known by name or has a volume counts.
    """
    given = {text(item, NUMBER) for item in usage if text(item, "ContrastBolusAgentAdministered") == "YES"}
    if usage and not given:
        denied = all(text(item, "ContrastBolusAgentAdministered") == "NO" for item in usage)
        return {"ContrastBolusAgent": "none" if denied else None}
    agents = [item for item in items(dataset, AGENTS) if not usage or text(item, NUMBER) in given]
    names = [text(item, "CodeMeaning") for item in agents]
    doses_ml = [value(item, "ContrastBolusVolume") for item in agents]
    if given:
        names.append("contrast agent")
    if not names:
        return {keyword: value(dataset, keyword) for keyword in ("ContrastBolusAgent", "ContrastBolusVolume")}
    return {
        "ContrastBolusAgent": " ".join(filter(None, names)),
        "ContrastBolusVolume": next((dose for dose in doses_ml if dose is not None), None),
    }
