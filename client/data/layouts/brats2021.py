"""BraTS 2021 and before: `<case>/<case>_{t1,t1ce,t2,flair,seg}.nii.gz`, enhancing tumour 4."""

from __future__ import annotations

from client.data.layouts.layout import BRAIN_WORDS, MAPS, Extra, Layout, Role, named_by_word
from common.sequences import Sequence

WORDS: dict[str, Role] = {
    "t1": Sequence.T1,
    "t1ce": Sequence.T1GD,
    "t1c": Sequence.T1GD,
    "t1gd": Sequence.T1GD,
    "t2": Sequence.T2,
    "flair": Sequence.FLAIR,
    "seg": Extra.LABELS,
    **MAPS,
    **BRAIN_WORDS,
}

# BIDS and UCSF-PDGM end some names alike, but their cases are read by their own layouts.
BRATS_2021 = Layout("brats2021", named_by_word(r"(?P<case>(?!sub-|UCSF-PDGM-).+?)_", WORDS))
