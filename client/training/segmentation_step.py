"""One step of the segmenter on real and filled sequences, with whatever labels the site has.

Missing sequences are always filled by the frozen generator. A slice, or a patch of the volume, also loses its real
FLAIR with the study's `fill_probability`, and each other real sequence with a quarter of it, so that the segmenter
learns what fills look like and what not to trust: FLAIR above all, from which it would otherwise read the tumour alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor, nn

from client.data.dataset import CaseStore
from client.precision import half_precision
from client.privacy.private_step import Move
from client.training.accumulation import Term, minimise
from client.training.batches import move
from client.training.filled_inputs import Filler, open_filler
from client.training.optimisers import adamw
from client.training.patch_inputs import PatchInputs
from client.training.segmentation_inputs import CompletedBatch, SegmentationInputs, SliceInputs, can_train
from client.training.trainer import NothingToTrainError
from client.training.tumour_loss import TumourTargets, deep_tumour_loss, tumour_loss, tumour_targets
from client.training.update import Counted
from client.training.validation import training_part
from client.training.workplace import Workplace
from common.nets.segmenter import CHANNELS, Segmenter
from common.nets.segmenter_plan import mirrored_axes
from common.parameters import SHARED
from common.settings.stages import SegmenterStage


@dataclass(frozen=True)
class SegmentationBatch:
    """B slices or patches: T1, T1Gd, T2, FLAIR, real or filled, (B, 4, …), and what their labels say."""

    inputs: Tensor
    targets: TumourTargets


class SegmentationStep:
    """Draws completed slices or patches and moves the segmenter; see the module's text."""

    def __init__(
        self, model: Segmenter, settings: SegmenterStage, store: CaseStore, filler: Filler, device: torch.device
    ) -> None:
        self.model: nn.Module = model.to(device)
        self.supervised = model.supervised
        self.settings, self.device = settings, device
        # Every slice with any brain: whole volumes are completed later, and an unseen vertex or skull base goes wrong.
        self.store = CaseStore(store.cases, store.sequences, minimum_brain=0.0, tumour_share=settings.foreground_share)
        if not store.patients(can_train):
            raise NothingToTrainError("no case has tumour labels beside T1, T1Gd, T2 or FLAIR")
        self.inputs_of = cache(lambda store: _inputs(store, filler, settings, model.reading.window))
        self.store_of = cache(self.store.of_patient)
        self.inputs: SegmentationInputs = self.inputs_of(self.store)
        self.optimisers: Mapping[str, torch.optim.Optimizer] = {
            "segmenter": adamw(model.parameters(), settings.learning_rate, settings.weight_decay)
        }

    def draw(self, generator: torch.Generator) -> SegmentationBatch:
        """Draw what one step needs; see SegmentationInputs."""
        return self._batch(self.inputs.draw(self.settings.batch_size, generator))

    def trained_patients(self) -> tuple[str, ...]:
        """Return the patients with labels; see PatientStep."""
        return tuple(self.store.patients(can_train))

    def draw_of(self, patient: str, generator: torch.Generator) -> SegmentationBatch:
        """Draw one slice or patch of `patient`; see PatientStep."""
        return self._batch(self.inputs_of(self.store_of(patient)).draw(1, generator))

    def moves(self, number: int) -> tuple[Move, ...]:
        """Return the segmenter's own; see PatientStep."""
        return (Move("segmenter", self._loss),)

    def _batch(self, completed: CompletedBatch) -> SegmentationBatch:
        targets = tumour_targets(completed.labels, completed.label_kind)
        return move(SegmentationBatch(completed.inputs, targets), self.device)

    def __call__(self, batch: SegmentationBatch) -> dict[str, float]:
        """Move the model by one step; see TrainingStep."""
        return minimise(lambda part: {"loss": Term(self._loss(part))}, batch, self.optimisers["segmenter"])

    def _loss(self, batch: SegmentationBatch) -> Tensor:
        with half_precision(self.device):
            levels = self.supervised(batch.inputs)
        return deep_tumour_loss(levels, batch.targets.masks, batch.targets.known)

    @torch.no_grad()
    def evaluate(self, store: CaseStore) -> dict[str, Counted]:
        """Return the loss and, per known channel, the Dice of fixed slices or patches of held-out cases, unaltered.

        One slice or patch a patient; behind a Dice stand the patients that truly have some of the channel.
        """
        completed = self.inputs.fixed(store)
        if completed is None:
            return {}
        batch = self._batch(completed)
        with half_precision(self.device):
            parts = [self.model(rows) for rows in torch.split(batch.inputs, self.settings.batch_size)]
        logits = torch.cat(parts).float()
        known = batch.targets.known
        found = {"loss": Counted(float(tumour_loss(logits, batch.targets.masks, known)), int(known.any(1).sum()))}
        for number, channel in enumerate(CHANNELS):
            rows = known[:, number]
            guess, truth = logits[rows, number] > 0, batch.targets.masks[rows, number] > 0
            if truth.any():
                dice = float(2 * (guess & truth).sum() / (guess.sum() + truth.sum()))
                found[f"dice_{channel.lower()}"] = Counted(dice, int(truth.flatten(1).any(1).sum()))
        return found

    def patients(self) -> dict[str, int]:
        """Return the number of patients with labels; all parameters are shared."""
        return {SHARED: len(self.store.patients(can_train))}

    def behind(self) -> dict[str, int]:
        """Name no loss: all stand on all patients."""
        return {}


def _inputs(
    store: CaseStore, filler: Filler, settings: SegmenterStage, window: tuple[int, int, int] | None
) -> SegmentationInputs:
    """Return the slices, or with a window (K, H, W) the patches, that the settings ask for."""
    axes = mirrored_axes(settings.mirror_axes, settings.dimensions)
    if window is None:
        return SliceInputs(store, filler, settings.fill_probability, axes)
    return PatchInputs(store, filler, window, settings.foreground_share, settings.fill_probability, axes)


def build_step(model: nn.Module, place: Workplace) -> SegmentationStep:
    """Return the segmenter's step at a site. Raises NothingToTrainError where no case fits."""
    if place.study.stages.segmenter is None or not isinstance(model, Segmenter):
        raise ValueError("the study has no segmenter stage, or the model is not its network")
    filler = open_filler(place)
    return SegmentationStep(
        model, place.study.stages.segmenter, training_part(place.store, place.study), filler, place.device
    )
