"""BIDS: `sub-X[/ses-Y]/anat/sub-X[_ses-Y][_ce-…]_{T1w,T2w,FLAIR,T1map,…}.nii.gz`, masks below `derivatives/`.

A `T1w` with a `ce-` entity is T1Gd. Brain masks are `_desc-brain_mask`; tumours are `_desc-tumour_dseg` (full labels)
or `_desc-tumour_mask` (whole tumour; `tumor` and `lesion` are read alike). Sessions are joined by their subject.
"""

from __future__ import annotations

import re
from pathlib import PurePosixPath

from client.data.cache import LabelKind
from client.data.layouts.layout import NIFTI_SUFFIX, Extra, Layout, Role, ScanFile
from common.sequences import Sequence

NAME = re.compile(rf"(?P<subject>sub-[^_]+)(?P<entities>(?:_[a-zA-Z]+-[^_]+)*)_(?P<suffix>[A-Za-z0-9]+){NIFTI_SUFFIX}")

SUFFIXES: dict[str, Role] = {
    "T1w": Sequence.T1,
    "T2w": Sequence.T2,
    "FLAIR": Sequence.FLAIR,
    "T1map": Sequence.T1MAP,
    "ADC": Sequence.ADC,
    "adc": Sequence.ADC,
    "CBV": Sequence.CBV,
    "cbv": Sequence.CBV,
    "SWI": Sequence.SWI,
    "swi": Sequence.SWI,
    "trace": Sequence.DWI,
    "cbf": Sequence.ASL,
    **dict.fromkeys(
        ("dwi", "sbref", "asl", "m0scan", "PDw", "PDT2", "T2starw", "T2star", "T2map", "R1map"), Extra.IGNORED
    ),
    **dict.fromkeys(
        ("UNIT1", "angio", "defacemask", "MEGRE", "MESE", "MP2RAGE", "inplaneT1", "inplaneT2"), Extra.IGNORED
    ),
}
"""Suffixes of raw data; those ignored are BIDS words for what no model uses, raw diffusion and ASL series too."""

UNUSED_FOLDERS = {"func", "fmap", "eeg", "ieeg", "meg", "pet", "beh", "micr", "motion", "nirs", "mrs"}
TUMOUR_WORDS = {"tumour", "tumor", "lesion"}


def read(path: PurePosixPath) -> ScanFile | None:
    """Read one BIDS name; anything else below `derivatives` or `sourcedata` is ignored."""
    processed = "derivatives" in path.parts or "sourcedata" in path.parts
    match = NAME.fullmatch(path.name)
    if match is None:
        return ScanFile("", "", Extra.IGNORED) if processed else None
    entities = dict(part.split("-", 1) for part in match["entities"].split("_")[1:])
    case = match["subject"] + (f"_ses-{entities['ses']}" if "ses" in entities else "")
    role, kind = _role(match["suffix"], entities)
    if processed and not isinstance(role, Extra):
        role = Extra.IGNORED  # a processed image is not the scan
    if UNUSED_FOLDERS & set(path.parts):
        role = Extra.IGNORED
    return None if role is None else ScanFile(case, match["subject"], role, kind)


def _role(suffix: str, entities: dict[str, str]) -> tuple[Role | None, LabelKind | None]:
    """Return what a suffix stands for beside these entities, and what its labels mark."""
    if suffix in ("mask", "dseg"):
        words = {entities.get("desc", "").lower(), entities.get("label", "").lower()}
        if suffix == "mask" and "brain" in words:
            return Extra.BRAIN, None
        if words & TUMOUR_WORDS:
            return Extra.LABELS, LabelKind.FULL if suffix == "dseg" else LabelKind.WHOLE
        return Extra.IGNORED, None
    role = SUFFIXES.get(suffix)
    return (Sequence.T1GD if role is Sequence.T1 and "ce" in entities else role), None


BIDS = Layout("bids", read)
