"""What a layout reader says about one path: whose scan it is and what it shows."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import PurePosixPath

from client.data.cache import LabelKind
from common.sequences import Sequence

NIFTI_SUFFIX = r"\.nii(?:\.gz)?"


class Extra(StrEnum):
    """What a file can be besides a sequence."""

    BRAIN = "brain"
    LABELS = "labels"
    IGNORED = "ignored"


Role = Sequence | Extra


@dataclass(frozen=True)
class ScanFile:
    """One understood file.

    Attributes:
        case: one patient's session, unique at the site.
        patient: the layout's patient key.
        role: its sequence, mask or `ignored`: known, and of no use here.
        label_kind: what labels mark; None leaves it to the layout.
        bbb_disrupted: BBB status where the folder says it, else None.
    """

    case: str
    patient: str
    role: Role
    label_kind: LabelKind | None = None
    bbb_disrupted: bool | None = None


@dataclass(frozen=True)
class Layout:
    """A naming convention: `read` takes a path below the site's folder and returns None for a name it does not know."""

    name: str
    read: Callable[[PurePosixPath], ScanFile | None]
    label_kind: LabelKind = LabelKind.FULL
    et_label: int = 4


MAPS: dict[str, Role] = {
    "adc": Sequence.ADC,
    "cbv": Sequence.CBV,
    "t1map": Sequence.T1MAP,
    "swi": Sequence.SWI,
    "dwi": Sequence.DWI,
    "asl": Sequence.ASL,
    "hardi": Sequence.HARDI,
}
"""Words, in lower case, that all but BIDS use alike for what the layouts' authors did not name."""

BRAIN_WORDS: dict[str, Role] = dict.fromkeys(("brain", "brain_mask", "brainmask", "brain-mask"), Extra.BRAIN)


def named_by_word(pattern: str, words: dict[str, Role]) -> Callable[[PurePosixPath], ScanFile | None]:
    """Return a reader of names that match `pattern` with groups `case`, optional `patient`, and one of `words`."""
    alternatives = "|".join(sorted(map(re.escape, words), key=len, reverse=True))
    expression = re.compile(f"{pattern}(?P<word>{alternatives}){NIFTI_SUFFIX}", re.IGNORECASE)

    def read(path: PurePosixPath) -> ScanFile | None:
        match = expression.fullmatch(path.name)
        if match is None:
            return None
        case = match["case"]
        patient = match.groupdict().get("patient") or case
        return ScanFile(case, patient, words[match["word"].lower()])

    return read
