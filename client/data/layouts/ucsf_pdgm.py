"""UCSF-PDGM: `UCSF-PDGM-0004_nifti/UCSF-PDGM-0004_{T1,T1c,T2,FLAIR,…}.nii.gz`, enhancing tumour 4.

A follow-up is `UCSF-PDGM-0429_FU003d`, a session of patient 0429. The bias-corrected twins and the tensor fits are
known and left out (the client corrects bias itself), as is the four-dimensional raw HARDI series.
"""

from __future__ import annotations

from client.data.layouts.layout import Extra, Layout, Role, named_by_word
from common.sequences import Sequence

WORDS: dict[str, Role] = {
    "t1": Sequence.T1,
    "t1c": Sequence.T1GD,
    "t1gad": Sequence.T1GD,
    "t2": Sequence.T2,
    "flair": Sequence.FLAIR,
    "adc": Sequence.ADC,
    "swi": Sequence.SWI,
    "dwi": Sequence.DWI,
    "asl": Sequence.ASL,
    "cbv": Sequence.CBV,
    "t1map": Sequence.T1MAP,
    "tumor_segmentation": Extra.LABELS,
    "brain_segmentation": Extra.BRAIN,
    **dict.fromkeys((f"{word}_bias" for word in ("t1", "t1c", "t1gad", "t2", "flair", "swi", "dwi")), Extra.IGNORED),
    **dict.fromkeys((f"dti_eddy_{word}" for word in ("fa", "md", "l1", "l2", "l3", "noreg")), Extra.IGNORED),
    "brain_parenchyma_segmentation": Extra.IGNORED,
    "asl_m0": Extra.IGNORED,
}

UCSF_PDGM = Layout("ucsf-pdgm", named_by_word(r"(?P<case>(?P<patient>UCSF-PDGM-\d+)(?:_FU\d+d)?)_", WORDS))
