"""One step of the segmenter on real and filled sequences, with whatever labels the site has.

Missing sequences are always filled by the frozen generator. A slice also loses its real FLAIR with the study's
`fill_probability`, and each other real sequence with a quarter of it, so that the segmenter learns what fills look like
and what not to trust: FLAIR above all, from which it would otherwise read the tumour alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from client.data.augmentation import move_some
from client.data.cache import CachedCase, LabelKind
from client.data.dataset import CaseStore, SliceBatch
from client.training.accumulation import Term, minimise
from client.training.batches import move
from client.training.filled_inputs import Filler, open_filler, stack_of
from client.training.fixed_slices import fixed_slices
from client.training.optimisers import adamw
from client.training.trainer import NothingToTrainError, half_precision
from client.training.tumour_loss import TumourTargets, tumour_loss, tumour_targets
from common.nets.segmenter import CHANNELS, Segmenter
from common.parameters import SHARED
from common.sequences import STRUCTURAL, Domain, Sequence
from common.study import SegmenterStage, Stage, Study

OTHERS_SHARE = 0.25


@dataclass(frozen=True)
class SegmentationBatch:
    """B slices: T1, T1Gd, T2, FLAIR, real or filled, (B, 4, H, W), and what their labels say."""

    inputs: Tensor
    targets: TumourTargets


class SegmentationStep:
    """Draws completed slices and moves the segmenter; see the module's text."""

    def __init__(
        self, model: Segmenter, settings: SegmenterStage, store: CaseStore, filler: Filler, device: torch.device
    ) -> None:
        self.model: nn.Module = model.to(device)
        self.settings, self.filler, self.device = settings, filler, device
        # Every slice with any brain: whole volumes are completed later, and an unseen vertex or skull base goes wrong.
        self.store = CaseStore(store.cases, store.sequences, minimum_brain=0.0, tumour_share=store.tumour_share)
        if not store.patients(can_train):
            raise NothingToTrainError("no case has tumour labels beside T1, T1Gd, T2 or FLAIR")
        self.optimisers: Mapping[str, torch.optim.Optimizer] = {
            "segmenter": adamw(model.parameters(), settings.learning_rate, settings.weight_decay)
        }

    def draw(self, generator: torch.Generator) -> SegmentationBatch:
        """Draw slices, hide real sequences by lot, and fill what is missing or hidden."""
        slices = self.store.draw(self.settings.batch_size, generator, can_train)
        visible = hide(slices.present, self.settings.fill_probability, generator)
        return self._batch(move_some(self.filler.fill(self.store, slices, visible, STRUCTURAL), generator))

    def _batch(self, completed: SliceBatch) -> SegmentationBatch:
        targets = tumour_targets(completed.labels, completed.label_kind)
        return move(SegmentationBatch(stack_of(completed, STRUCTURAL), targets), self.device)

    def __call__(self, batch: SegmentationBatch) -> dict[str, float]:
        """Move the model by one step; see TrainingStep."""
        return minimise(lambda part: {"loss": Term(self._loss(part))}, batch, self.optimisers["segmenter"])

    def _loss(self, batch: SegmentationBatch) -> Tensor:
        return tumour_loss(self._logits(batch), batch.targets.masks, batch.targets.known)

    def _logits(self, batch: SegmentationBatch) -> Tensor:
        with half_precision(self.device):
            logits: Tensor = self.model(batch.inputs)
        return logits.float()

    @torch.no_grad()
    def evaluate(self, store: CaseStore) -> dict[str, float]:
        """Return the loss and, per known channel, the Dice of fixed slices of held-out cases as they come."""
        slices = fixed_slices(store, can_train)
        if slices is None:
            return {}
        present = {sequence: slices.present[sequence] for sequence in STRUCTURAL}
        batch = self._batch(self.filler.fill(store, slices, present, STRUCTURAL))
        logits = self._logits(batch)
        found = {"loss": float(tumour_loss(logits, batch.targets.masks, batch.targets.known))}
        for number, channel in enumerate(CHANNELS):
            rows = batch.targets.known[:, number]
            guess, truth = logits[rows, number] > 0, batch.targets.masks[rows, number] > 0
            if truth.any():
                found[f"dice_{channel.lower()}"] = float(2 * (guess & truth).sum() / (guess.sum() + truth.sum()))
        return found

    def patients(self) -> dict[str, int]:
        """Return the number of patients with labels; all parameters are shared."""
        return {SHARED: len(self.store.patients(can_train))}


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


def build_step(
    model: nn.Module,
    study: Study,
    domains: tuple[Domain, ...],
    site_name: str,
    store: CaseStore,
    frozen: Mapping[Stage, nn.Module],
    device: torch.device,
) -> SegmentationStep:
    """Return the segmenter's step at a site. Raises NothingToTrainError where no case fits."""
    if study.stages.segmenter is None or not isinstance(model, Segmenter):
        raise ValueError("the study has no segmenter stage, or the model is not its network")
    filler = open_filler(study, domains, site_name, store, frozen)
    return SegmentationStep(model, study.stages.segmenter, store, filler, device)
