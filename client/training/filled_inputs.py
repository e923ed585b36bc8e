"""Inputs of the later stages: real slices, and what the frozen generator draws in the place of missing ones."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from client.data.cache import CachedCase, LabelKind, open_case
from client.data.dataset import SliceBatch
from client.inference.device import device_of
from client.inference.fill import Translator, fill_missing
from client.training.trainer import half_precision
from common.sequences import NEEDS_GADOLINIUM, STRUCTURAL, Sequence

CONDITION = (Sequence.T1, Sequence.FLAIR)
"""What the synthesiser and the identifier see of a patient without gadolinium."""

CONTRAST_FREE = tuple(sequence for sequence in STRUCTURAL if sequence not in NEEDS_GADOLINIUM)
ET = 4


class Filler:
    """The frozen generator with the sites whose style its fills take: the site's own, else the reference centre's."""

    def __init__(self, generator: Translator, site: str, reference_site: str) -> None:
        self.generator, self.site, self.reference_site = generator, site, reference_site

    def complete(self, batch: SliceBatch, present: Mapping[Sequence, Tensor], wanted: tuple[Sequence, ...]) -> Tensor:
        """Return `wanted` sequences as channels, (B, C, H, W); rows that lack one are filled from what is `present`.

        Args:
            batch: slices.
            present: per sequence (B,) bool: what may be seen, as input and as source of fills.
            wanted: sequences, each a key of `present`.
        Returns:
            On the CPU, wherever the generator runs.
        """
        images = {sequence: batch.images[sequence] for sequence in present}
        rows = torch.stack([~present[sequence] for sequence in wanted]).any(0).nonzero()[:, 0]
        stack = torch.cat([images[sequence] for sequence in wanted], dim=1)
        if len(rows):
            device = device_of(self.generator)
            with half_precision(device):
                filled = fill_missing(
                    self.generator,
                    {sequence: image[rows].to(device) for sequence, image in images.items()},
                    {sequence: flag[rows].to(device) for sequence, flag in present.items()},
                    self.site,
                    self.reference_site,
                    batch.brain[rows].to(device),
                )
            stack[rows] = torch.cat([filled[sequence] for sequence in wanted], dim=1).cpu()
        return stack

    def condition(self, batch: SliceBatch) -> Tensor:
        """Return T1 and FLAIR, (B, 2, H, W), never filled from a sequence that needs gadolinium."""
        return self.complete(batch, {sequence: batch.present[sequence] for sequence in CONTRAST_FREE}, CONDITION)


def has_condition(case: CachedCase) -> bool:
    """Whether T1 and FLAIR are there or can be filled without gadolinium."""
    return any(sequence in case.sequences for sequence in CONTRAST_FREE)


def enhancing_label(case: CachedCase) -> int | None:
    """Return the patient's label δ: 1 barrier disrupted, 0 intact, None unknown.

    It is the BBB status where known, else whether a full label map holds any enhancing tumour.
    """
    if case.bbb_disrupted is not None:
        return int(case.bbb_disrupted)
    if case.label_kind is LabelKind.FULL:
        return int(_enhances(case.path))
    return None


@cache
def _enhances(path: Path) -> bool:
    """Whether a cached label map holds ET; remembered, since a cache file is named by its content."""
    return bool((open_case(path).labels() == ET).any())
