"""A phantom's volume as one Enhanced MR object, as newer scanners export it."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence as Items
from pydicom.uid import ExplicitVRLittleEndian

from simulations.phantom.dicom import ROOT, turned

T1 = {"RepetitionTime": 500.0, "EffectiveEchoTime": 10.0}
T2 = {"RepetitionTime": 4000.0, "EffectiveEchoTime": 100.0}
FLAIR = {"RepetitionTime": 9000.0, "EffectiveEchoTime": 110.0, "InversionTimes": [2500.0], "InversionRecovery": "YES"}
GROUPS = {
    "RepetitionTime": "MRTimingAndRelatedParametersSequence",
    "FlipAngle": "MRTimingAndRelatedParametersSequence",
    "EffectiveEchoTime": "MREchoSequence",
    "InversionTimes": "MRModifierSequence",
    "InversionRecovery": "MRModifierSequence",
    "DiffusionBValue": "MRDiffusionSequence",
    "FrameType": "MRImageFrameTypeSequence",
    "ComplexImageComponent": "MRImageFrameTypeSequence",
    "ImagePositionPatient": "PlanePositionSequence",
    "ImageOrientationPatient": "PlaneOrientationSequence",
    "PixelSpacing": "PixelMeasuresSequence",
    "SliceThickness": "PixelMeasuresSequence",
    "RescaleSlope": "PixelValueTransformationSequence",
    "RescaleIntercept": "PixelValueTransformationSequence",
    "StackID": "FrameContentSequence",
    "TemporalPositionIndex": "FrameContentSequence",
    "ContrastBolusAgentNumber": "ContrastBolusUsageSequence",
    "ContrastBolusAgentAdministered": "ContrastBolusUsageSequence",
}
"""Element → the functional group that holds it."""


@dataclass
class Volume:
    """One of the volumes of an object: stored values RAS+, where they lie, and what its frames say."""

    data: Any
    affine: Any
    facts: dict[str, Any] = field(default_factory=dict)
    plane: str = "axial"

    def frames(self):
        """Return facts and pixels of each frame."""
        data, place = turned(self.data, self.affine, self.plane)
        spacing = np.linalg.norm(place[:3, :3], axis=0)
        axes = np.concatenate([place[:3, 0] / spacing[0], place[:3, 1] / spacing[1]])
        for index in range(data.shape[2]):
            position = (place @ [0, 0, index, 1])[:3]
            yield (
                {
                    "ImagePositionPatient": [f"{each + 0.0:.10g}"[:16] for each in position],
                    "ImageOrientationPatient": [f"{each + 0.0:.10g}"[:16] for each in axes],
                    "PixelSpacing": [f"{spacing[1]:.10g}", f"{spacing[0]:.10g}"],
                    "SliceThickness": f"{spacing[2]:.10g}",
                    "StackID": "1",
                    **self.facts,
                },
                np.ascontiguousarray(data[:, :, index].T),
            )


def enhanced(volumes, number=1, patient="4711", order=None, each=(), **tags):
    """Return an object of the frames of `volumes`, in the order that a permutation says.

    Args:
        each: elements that stand with every frame although all frames agree in them.
        tags: elements of the object.
    """
    frames = [frame for volume in volumes for frame in volume.frames()]
    frames = [frames[place] for place in (range(len(frames)) if order is None else order)]
    facts = [frame[0] for frame in frames]
    pixels = np.stack([frame[1] for frame in frames])
    shared = {key for key in facts[0] if key not in each and all(fact.get(key) == facts[0][key] for fact in facts)}
    apart = {GROUPS[key] for fact in facts for key in fact if key not in shared}  # a group stands in one place alone
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    elements = {
        "SpecificCharacterSet": "ISO_IR 192", "SOPClassUID": "1.2.840.10008.5.1.4.1.1.4.1", "Modality": "MR",
        "SOPInstanceUID": f"{ROOT}.1.{number}.1", "SeriesInstanceUID": f"{ROOT}.1.{number}",
        "StudyInstanceUID": f"{ROOT}.1", "FrameOfReferenceUID": f"{ROOT}.1.9999", "PatientID": patient,
        "PatientName": "Phantom^Gliofed", "StudyDate": "20240102", "SeriesNumber": number, "InstanceNumber": 1,
        "ImageType": ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"], "SeriesDescription": "t1_se_tra nativ",
        "EchoPulseSequence": "SPIN", "MRAcquisitionType": "2D", "MagneticFieldStrength": 3.0,
        "NumberOfFrames": len(frames), "Rows": pixels.shape[1], "Columns": pixels.shape[2], "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2", "BitsAllocated": 16, "BitsStored": 16, "HighBit": 15,
        "PixelRepresentation": 1, "BurnedInAnnotation": "NO", "LossyImageCompression": "00",
    }  # fmt: skip
    for keyword, value in (elements | tags).items():
        if value is not None:
            setattr(dataset, keyword, value)
    common = {key: value for key, value in facts[0].items() if GROUPS[key] not in apart}
    dataset.SharedFunctionalGroupsSequence = Items([_groups(common)])
    dataset.PerFrameFunctionalGroupsSequence = Items(
        [_groups({key: value for key, value in fact.items() if GROUPS[key] in apart}) for fact in facts]
    )
    dataset.PixelData = pixels.astype("<i2").tobytes()
    dataset["PixelData"].VR = "OW"
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    return dataset


def agents(meaning, number=1, **more):
    """Return the list of contrast agents of an object, of one."""
    item = Dataset()
    item.ContrastBolusAgentNumber, item.CodeMeaning = number, meaning
    for keyword, value in more.items():
        setattr(item, keyword, value)
    return Items([item])


def _groups(facts):
    found = Dataset()
    for keyword, value in facts.items():
        if GROUPS[keyword] not in found:
            setattr(found, GROUPS[keyword], Items([Dataset()]))
        setattr(getattr(found, GROUPS[keyword])[0], keyword, value)
    return found
