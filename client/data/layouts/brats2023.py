"""BraTS 2023: `BraTS-GLI-00000-000/BraTS-GLI-00000-000-{t1n,t1c,t2w,t2f,seg}.nii.gz`, enhancing tumour 3.

The last three digits are the session: 00000-000 and 00000-001 are one patient.
"""

from __future__ import annotations

from client.data.layouts.layout import BRAIN_WORDS, MAPS, Extra, Layout, Role, named_by_word
from common.sequences import Sequence

WORDS: dict[str, Role] = {
    "t1n": Sequence.T1,
    "t1c": Sequence.T1GD,
    "t2w": Sequence.T2,
    "t2f": Sequence.FLAIR,
    "seg": Extra.LABELS,
    **MAPS,
    **BRAIN_WORDS,
}

BRATS_2023 = Layout("brats2023", named_by_word(r"(?P<case>(?P<patient>[^_]+)-\d{3})-", WORDS), et_label=3)
