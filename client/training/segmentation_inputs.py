"""What the segmenter is trained and judged on: completed slices, or completed patches of the volume."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from client.data.augmentation import move_some
from client.data.cache import CachedCase, LabelKind
from client.data.dataset import CaseStore, SliceBatch
from client.training.filled_inputs import Filler, stack_of
from client.training.fixed_slices import fixed_slices
from common.sequences import STRUCTURAL, Sequence

OTHERS_SHARE = 0.25


@dataclass(frozen=True)
class CompletedBatch:
    """B slices or patches whose missing sequences are filled; the dots stand for H, W or K, H, W.

    Attributes:
        inputs: T1, T1Gd, T2, FLAIR, (B, 4, …) in [-1, 1].
        labels: (B, …) uint8: 0, 1 NCR, 2 ED, 4 ET, or 1 for a whole tumour.
        label_kind: (B,) int64: 0 no labels, 1 whole tumour only, 2 full.
    """

    inputs: Tensor
    labels: Tensor
    label_kind: Tensor


class SegmentationInputs(Protocol):
    """Where the segmenter's batches come from."""

    def draw(self, count: int, generator: torch.Generator) -> CompletedBatch:
        """Draw `count` slices or patches, hide real sequences by lot, fill what is missing or hidden, move the rest."""
        ...

    def fixed(self, store: CaseStore) -> CompletedBatch | None:
        """Return fixed ones of other cases, as they come, one a patient; None where none fits."""
        ...


class SliceInputs:
    """Slices for the 2-D segmenter; hiding goes slice by slice."""

    def __init__(self, store: CaseStore, filler: Filler, hidden: float, mirror_axes: tuple[int, ...]) -> None:
        """Keep the training cases, the filler, the share `hidden` of real FLAIR, and the axes that may be mirrored."""
        self.store, self.filler, self.hidden, self.mirror_axes = store, filler, hidden, mirror_axes

    def draw(self, count: int, generator: torch.Generator) -> CompletedBatch:
        """See SegmentationInputs."""
        slices = self.store.draw(count, generator, can_train)
        visible = hide(slices.present, self.hidden, generator)
        filled = self.filler.fill(self.store, slices, visible, STRUCTURAL)
        return _completed(move_some(filled, generator, self.mirror_axes))

    def fixed(self, store: CaseStore) -> CompletedBatch | None:
        """See SegmentationInputs."""
        slices = fixed_slices(store, can_train)
        if slices is None:
            return None
        present = {sequence: slices.present[sequence] for sequence in STRUCTURAL}
        return _completed(self.filler.fill(store, slices, present, STRUCTURAL))


def _completed(slices: SliceBatch) -> CompletedBatch:
    return CompletedBatch(stack_of(slices, STRUCTURAL), slices.labels, slices.label_kind)


def can_train(case: CachedCase) -> bool:
    """Whether a case has tumour labels and at least one structural sequence."""
    return case.label_kind is not LabelKind.NONE and any(sequence in case.sequences for sequence in STRUCTURAL)


def hide(present: Mapping[Sequence, Tensor], probability: float, generator: torch.Generator) -> dict[Sequence, Tensor]:
    """Return what remains visible of the structural sequences, per sequence (B,) bool.

    FLAIR is hidden with `probability`, each other sequence with `OTHERS_SHARE` of it; a row that would lose all that
    it has keeps all.
    """
    real = torch.stack([present[sequence] for sequence in STRUCTURAL], dim=1)
    odds = torch.tensor([1.0 if sequence is Sequence.FLAIR else OTHERS_SHARE for sequence in STRUCTURAL]) * probability
    seen = real & (torch.rand(real.shape, generator=generator) >= odds)
    seen = torch.where(seen.any(dim=1, keepdim=True), seen, real)
    return {sequence: seen[:, number] for number, sequence in enumerate(STRUCTURAL)}
