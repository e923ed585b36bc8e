"""Contrastive maximum learning of the BBB identifier (CBSI, Nat Commun 17:2162).

Both hypotheses of each training case are drawn by the frozen models; the identifier sees T1, FLAIR and one of the two
inside the predicted tumour and learns whether it is the true one (self-consistency, binary cross-entropy). Every drawn
slice enters a batch under both hypotheses, so that neither label nor site nor size alone can tell the answer.

Without contrast (`contrastive = false`, the ablation) it sees T1, FLAIR and the mean of the two and learns the status
itself; then nothing keeps it from learning a site's or a size's prevalence. Patients kept for validation are not seen.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from client.data.cache import CachedCase
from client.data.dataset import CaseStore
from client.inference.identify import Slices
from client.precision import half_precision
from client.privacy.private_step import Move
from client.training.accumulation import Term, minimise
from client.training.batches import move
from client.training.drawn_hypotheses import HypothesisDrawer, draw_or_recall
from client.training.filled_inputs import enhancing_label, open_filler
from client.training.optimisers import adamw
from client.training.trainer import NothingToTrainError
from client.training.update import Counted
from client.training.validation import has_known_status, training_part
from client.training.workplace import Workplace
from common.nets.identifier import Identifier
from common.parameters import SHARED
from common.settings.stages import IdentifierStage, Stage

EVALUATION_PATIENTS = 12
Item = TypeVar("Item")


@dataclass(frozen=True)
class IdentificationBatch:
    """B windows of T1, FLAIR and a T1Gd, (B, 3, h, w), and whether the answer to them is yes, (B,) float.

    The question is whether this hypothesis is the true one; without contrast, whether the barrier is disrupted.
    """

    inputs: Tensor
    positive: Tensor

    def to(self, device: torch.device) -> IdentificationBatch:
        """Return the batch on `device`."""
        return move(self, device)


class IdentificationStep:
    """Draws windows under both hypotheses and moves the identifier; see the module's text."""

    def __init__(
        self,
        model: Identifier,
        settings: IdentifierStage,
        store: CaseStore,
        drawer: HypothesisDrawer,
        device: torch.device,
    ) -> None:
        self.model: nn.Module = model.to(device)
        self.settings, self.store, self.drawer, self.device = settings, store, drawer, device
        patients = store.patients(has_known_status)
        drawn = draw_or_recall(drawer, store, [index for indices in patients.values() for index in indices])
        self.windows = {index: windows for index, windows in drawn.items() if windows.count}
        kept = [[index for index in indices if index in self.windows] for indices in patients.values()]
        labelled = [(_label_of(store.cases[indices[0]]), indices) for indices in kept if indices]
        by_label = [[indices for label, indices in labelled if label == wanted] for wanted in (0, 1)]
        self.groups = [group for group in by_label if group]
        if not self.groups:
            raise NothingToTrainError("no case of known BBB status in which the segmenter finds a tumour")
        self.optimisers: Mapping[str, torch.optim.Optimizer] = {
            "identifier": adamw(model.parameters(), settings.learning_rate, settings.weight_decay)
        }

    def draw(self, generator: torch.Generator) -> IdentificationBatch:
        """Draw a status, then patients, cases and slices; mirror each slice at random, all channels alike.

        Statuses are drawn evenly: else the site's prevalence alone would make one hypothesis look consistent.
        """
        windows: list[Tensor] = []
        labels: list[int] = []
        for _ in range(max(1, self.settings.batch_size // (2 if self.settings.contrastive else 1))):
            index = _one_of(_one_of(_one_of(self.groups, generator), generator), generator)
            windows.append(self._window(index, generator))
            labels.append(_label_of(self.store.cases[index]))
        return self._ask(torch.stack(windows), torch.tensor(labels)).to(self.device)

    def _window(self, index: int, generator: torch.Generator) -> Tensor:
        """Draw one slice of a case, mirrored by lot, (4, h, w)."""
        kept = self.windows[index]
        number = int(torch.randint(kept.count, (), generator=generator))
        window = torch.from_numpy(kept.read_one(number))
        return window.flip([axis for axis in (1, 2) if torch.rand((), generator=generator).item() < 0.5])

    def trained_patients(self) -> tuple[str, ...]:
        """Return the patients with a known status and a found tumour; see PatientStep."""
        return tuple(sorted(self.store.cases[indices[0]].patient for group in self.groups for indices in group))

    def draw_of(self, patient: str, generator: torch.Generator) -> IdentificationBatch:
        """Draw one slice of `patient`, under both hypotheses; see PatientStep. Statuses are as frequent as they are."""
        index = _one_of([each for each in self.windows if self.store.cases[each].patient == patient], generator)
        label = torch.tensor([_label_of(self.store.cases[index])])
        return self._ask(self._window(index, generator)[None], label).to(self.device)

    def moves(self, number: int) -> tuple[Move, ...]:
        """Return the identifier's own; see PatientStep."""
        return (Move("identifier", self._loss),)

    def _ask(self, windows: Tensor, labels: Tensor) -> IdentificationBatch:
        return pair_up(windows, labels) if self.settings.contrastive else average(windows, labels)

    def __call__(self, batch: IdentificationBatch) -> dict[str, float]:
        """Move the model by one step; see TrainingStep."""
        return minimise(lambda part: {"loss": Term(self._loss(part))}, batch, self.optimisers["identifier"])

    def _loss(self, batch: IdentificationBatch) -> Tensor:
        with half_precision(self.device):
            logits = self.model(batch.inputs)
        return F.binary_cross_entropy_with_logits(logits.float(), batch.positive)

    @torch.no_grad()
    def evaluate(self, store: CaseStore) -> dict[str, Counted]:
        """Return the loss over all windows of held-out cases, one case a patient, patients weighing equally."""
        indices = [indices[0] for indices in store.patients(has_known_status).values()][:EVALUATION_PATIENTS]
        drawn = draw_or_recall(self.drawer, store, indices)
        losses = [
            float(self._loss(self._all(windows.read(), _label_of(store.cases[index])).to(self.device)))
            for index, windows in drawn.items()
            if windows.count
        ]
        return {"loss": Counted(sum(losses) / len(losses), len(losses))} if losses else {}

    def _all(self, windows: Slices, label: int) -> IdentificationBatch:
        stack = torch.from_numpy(windows).transpose(0, 1)
        return self._ask(stack, torch.full((stack.shape[0],), label))

    def patients(self) -> dict[str, int]:
        """Return the number of patients with a known status and a found tumour; all parameters are shared."""
        return {SHARED: sum(len(group) for group in self.groups)}

    def behind(self) -> dict[str, int]:
        """Name no loss: all stand on all patients."""
        return {}


def pair_up(windows: Tensor, labels: Tensor) -> IdentificationBatch:
    """Return each window under both hypotheses, the enhancing ones first.

    Args:
        windows: T1, FLAIR, T1Gd⁺, T1Gd⁻, (B, 4, h, w).
        labels: δ, (B,) int64.
    """
    enhancing, non_enhancing = windows[:, [0, 1, 2]], windows[:, [0, 1, 3]]
    return IdentificationBatch(torch.cat([enhancing, non_enhancing]), torch.cat([labels, 1 - labels]).float())


def average(windows: Tensor, labels: Tensor) -> IdentificationBatch:
    """Return each window (B, 4, h, w) once, with the mean of both hypotheses, and the status itself as its answer."""
    return IdentificationBatch(torch.cat([windows[:, :2], windows[:, 2:].mean(1, keepdim=True)], 1), labels.float())


def _label_of(case: CachedCase) -> int:
    label = enhancing_label(case)
    if label is None:
        raise ValueError("a case of unknown status has no label")
    return label


def _one_of(items: list[Item], generator: torch.Generator) -> Item:
    return items[int(torch.randint(len(items), (), generator=generator))]


def build_step(model: nn.Module, place: Workplace) -> IdentificationStep:
    """Return the identifier's step at a site. Raises NothingToTrainError where no case fits."""
    if place.study.stages.identifier is None or not isinstance(model, Identifier):
        raise ValueError("the study has no identifier stage, or the model is not its network")
    drawer = open_drawer(place)
    return IdentificationStep(
        model, place.study.stages.identifier, training_part(place.store, place.study), drawer, place.device
    )


def open_drawer(place: Workplace) -> HypothesisDrawer:
    """Return what draws the hypotheses of a site's cases. Raises ValueError where the study has no synthesiser."""
    synthesis = place.study.stages.synthesiser
    if synthesis is None:
        raise ValueError("the study has no synthesiser stage")
    return HypothesisDrawer(
        filler=open_filler(place),
        synthesiser=place.frozen[Stage.SYNTHESISER],
        segmenter=place.frozen[Stage.SEGMENTER],
        settings=synthesis,
        seed=place.study.seed,
    )
