"""CBSI: `ET-{1,0}/<case>/{T1,T1C,T2F,ROI,Brain_mask}.nii.gz`; ET-1 is a disrupted, ET-0 an intact blood-brain barrier.

Cases that lie beside such folders, or without them, have no known status.
"""

from __future__ import annotations

import re
from pathlib import PurePosixPath

from client.data.cache import LabelKind
from client.data.layouts.layout import BRAIN_WORDS, MAPS, NIFTI_SUFFIX, Extra, Layout, Role, ScanFile
from common.sequences import Sequence

STATUS_FOLDER = re.compile(r"ET-([01])", re.IGNORECASE)

WORDS: dict[str, Role] = {
    "t1": Sequence.T1,
    "t1c": Sequence.T1GD,
    "t1gd": Sequence.T1GD,
    "t2": Sequence.T2,
    "t2f": Sequence.FLAIR,
    "flair": Sequence.FLAIR,
    "roi": Extra.LABELS,
    **MAPS,
    **BRAIN_WORDS,
}


def read(path: PurePosixPath) -> ScanFile | None:
    """Read `[ET-x/]<case>/<word>.nii.gz`."""
    match = re.fullmatch(rf"(\w+){NIFTI_SUFFIX}", path.name)
    role = WORDS.get(match[1].lower()) if match else None
    case = path.parent.name
    if role is None or not case:
        return None
    status = STATUS_FOLDER.fullmatch(path.parent.parent.name)
    return ScanFile(case, case, role, bbb_disrupted=None if status is None else status[1] == "1")


CBSI = Layout("cbsi", read, label_kind=LabelKind.WHOLE)
