"""What a release makes of one case: fills, harmonized images, both hypotheses, tumour, map and BBB status."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from client.inference.fill import Filled
from client.inference.harmonize import Harmonized
from client.inference.identify import BbbResult
from client.inference.maps import DrawnMap
from client.inference.synthesise import HypothesesVolume
from common.sequences import Sequence

Slices = NDArray[np.float32]

UNKNOWN_CENTRE = "unknown to this release, harmonized from its sequence alone"


@dataclass(frozen=True)
class Completion:
    """What a release makes of a case, all on the study grid, (K, H, W), images in [-1, 1].

    Attributes:
        real: the real sequences that were used.
        fills: the missing sequences, each with its source and style.
        harmonizations: every sequence, real or missing, in the reference centre's style.
        hypotheses: T1Gd under both hypotheses; None without a synthesiser, or where its conditions are out of reach.
        condition: what the conditions of the hypotheses were: the sequence itself where real, else the fill's source;
            None where it could not be had and was shown as missing.
        tumour_probability: whole tumour, core and enhancing tumour, (3, K, H, W); None without a segmenter.
        labels: 0 / 1 NCR / 2 ED / 4 ET, specks removed; None without a segmenter.
        bbb: status of the blood-brain barrier, or why there is none.
        drawn_map: the target of the maps stage; None without that stage, where it is real or where inputs are lacking.
        site: the site whose pictures these are, None where the release does not know it.
        remarks: what a reader must know about these results.
    """

    real: Mapping[Sequence, Slices]
    fills: Mapping[Sequence, Filled]
    harmonizations: Mapping[Sequence, Harmonized]
    hypotheses: HypothesesVolume | None
    condition: Mapping[Sequence, Sequence | None]
    tumour_probability: Slices | None
    labels: NDArray[np.uint8] | None
    bbb: BbbResult
    drawn_map: DrawnMap | None
    site: str | None
    remarks: tuple[str, ...]

    @property
    def filled(self) -> dict[Sequence, Slices]:
        """The missing sequences."""
        return {sequence: fill.slices for sequence, fill in self.fills.items()}

    @property
    def harmonized(self) -> dict[Sequence, Slices]:
        """Every sequence in the reference centre's style."""
        return {sequence: each.slices for sequence, each in self.harmonizations.items()}

    @property
    def t1gd_enhancing(self) -> Slices | None:
        """T1Gd if the barrier is disrupted."""
        return None if self.hypotheses is None else self.hypotheses.enhancing

    @property
    def t1gd_non_enhancing(self) -> Slices | None:
        """T1Gd if the barrier is intact."""
        return None if self.hypotheses is None else self.hypotheses.non_enhancing

    @property
    def t1gd_chosen(self) -> Slices | None:
        """The hypothesis that the BBB status takes; None where it is indeterminate."""
        chosen = {"disrupted": self.t1gd_enhancing, "intact": self.t1gd_non_enhancing}
        return chosen.get(self.bbb.status)
