"""One step of a synthesiser, whichever its family (CBSI, Nat Commun 17:2162; seed 001), on a site's incomplete data.

Loss: lesion-weighted error of what the network says (of the T1Gd itself, CBSI's L1), plus lambda_seg times the
whole-tumour loss of the auxiliary decoder. A case without T1Gd, or whose label δ is unknown where the network is told
one, trains the auxiliary decoder alone: it is shown what drawing starts from. Missing conditions are filled by the
frozen generator, never from T1Gd, and marked as filled; some are hidden by lot, and marked as missing. A difference is
taken from the T1 that is shown, real or filled, so that the two add up to T1Gd. A case that has nothing but gadolinium
sequences teaches nothing: there is no input to find even its tumour in.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from client.data.augmentation import choose_half, mirror, mirror_rows
from client.data.cache import CachedCase, LabelKind
from client.data.dataset import CaseStore, SliceBatch
from client.precision import half_precision
from client.privacy.private_step import Move
from client.training.accumulation import Term, minimise, weighted_sum
from client.training.batches import move
from client.training.conditions import Conditions, conditions_of, drop_some
from client.training.filled_inputs import Filler, enhancing_label, has_condition, open_filler
from client.training.fixed_slices import fixed_slices
from client.training.optimisers import adamw
from client.training.trainer import NothingToTrainError
from client.training.tumour_loss import tumour_loss, tumour_targets
from client.training.update import Counted
from client.training.validation import training_part
from client.training.workplace import Workplace
from common.generative.noise_schedule import schedule_of
from common.generative.objectives import DiffusionObjective, DirectObjective, FlowObjective, Objective
from common.generative.paired import weighted_error
from common.nets.conditional_unet import ConditionalUNet
from common.nets.embeddings import MISSING
from common.parameters import SHARED
from common.sequences import Sequence
from common.settings.stages import SynthesiserStage

BACKGROUND_WEIGHT = 0.1
EVALUATION_TIMES = 4


@dataclass(frozen=True)
class SynthesisBatch:
    """B slices with what the network is shown of them and should say.

    Attributes:
        condition: the conditions with their neighbouring slices, real, filled or background, (B, C · S, H, W).
        availability: what each condition is, (B, C) int64.
        asked: what the network should say, (B, 1, H, W), meaningful where `weight` is positive.
        x_t: noised picture, what drawing starts from where it trains nothing, (B, 1, H, W).
        t: time in the family's units, (B,).
        enhancing: label δ, (B,) int64; drawn by lot where unknown.
        weight: weight of each pixel's error, (B, 1, H, W); zero where T1Gd or δ is unknown.
        tumour: whole-tumour mask, (B, 1, H, W) float.
        tumour_known: (B, 1) bool.
    """

    condition: Tensor
    availability: Tensor
    asked: Tensor
    x_t: Tensor
    t: Tensor
    enhancing: Tensor
    weight: Tensor
    tumour: Tensor
    tumour_known: Tensor

    def to(self, device: torch.device) -> SynthesisBatch:
        """Return the batch on `device`."""
        return move(self, device)


class SynthesisStep:
    """Draws noised slices and moves the conditional U-Net; see the module's text."""

    def __init__(
        self, model: ConditionalUNet, settings: SynthesiserStage, store: CaseStore, filler: Filler, device: torch.device
    ) -> None:
        self.model: nn.Module = model.to(device)
        self.settings, self.filler, self.device = settings, filler, device
        # Every slice with any brain: whole volumes are completed later, and an unseen vertex or skull base goes wrong.
        self.store = CaseStore(store.cases, store.sequences, minimum_brain=0.0, tumour_share=store.tumour_share)
        self.objective = objective_of(settings)
        self.base = settings.conditions.index(Sequence.T1) if settings.target == "difference" else None
        if not store.patients(self.can_train):
            raise NothingToTrainError(
                "no case has T1Gd with a known BBB status, or tumour labels, beside T1, T2 or FLAIR"
            )
        self.optimisers: Mapping[str, torch.optim.Optimizer] = {
            "synthesiser": adamw(model.parameters(), settings.learning_rate, settings.weight_decay)
        }

    def draw(self, generator: torch.Generator) -> SynthesisBatch:
        """Draw slices, hidden conditions, times, noise and, where δ is unknown, labels."""
        return self._drawn(self.store, self.settings.batch_size, generator)

    def trained_patients(self) -> tuple[str, ...]:
        """Return the patients that teach anything; see PatientStep."""
        return tuple(self.store.patients(self.can_train))

    def draw_of(self, patient: str, generator: torch.Generator) -> SynthesisBatch:
        """Draw one slice of `patient`; see PatientStep."""
        return self._drawn(self.store.of_patient(patient), 1, generator)

    def moves(self, number: int) -> tuple[Move, ...]:
        """Return the synthesiser's own; see PatientStep."""
        return (Move("synthesiser", lambda batch: weighted_sum(self._terms(batch))),)

    def _drawn(self, store: CaseStore, count: int, generator: torch.Generator) -> SynthesisBatch:
        slices = store.draw(count, generator, self.can_train)
        conditions = self._conditions(store, slices)
        chosen = choose_half(slices, generator)
        slices, images = mirror(slices, chosen), mirror_rows(conditions.images, chosen)
        conditions = Conditions(images, conditions.availability)
        conditions = drop_some(conditions, self.settings.condition_dropout, self.base, generator)
        t = self.objective.draw_times(count, generator)
        return self._noised(store, slices, conditions, t, generator)

    def _conditions(self, store: CaseStore, slices: SliceBatch) -> Conditions:
        return conditions_of(self.filler, store, slices, self.settings.conditions, self.settings.slices)

    def _noised(
        self, store: CaseStore, slices: SliceBatch, conditions: Conditions, t: Tensor, generator: torch.Generator
    ) -> SynthesisBatch:
        """Return slices in the noise of times t, (B,)."""
        labels = [enhancing_label(store.cases[index]) for index in slices.case_index.tolist()]
        lots = torch.randint(2, (len(labels),), generator=generator)
        enhancing = torch.tensor([int(lots[row]) if label is None else label for row, label in enumerate(labels)])
        picture, teaches = self._picture(slices, conditions)
        if self.settings.use_label:
            teaches = teaches & torch.tensor([label is not None for label in labels])
        noise = torch.randn(slices.brain.shape, generator=generator)
        t = torch.where(teaches, t, self.objective.time_at(1.0, len(t)))
        taught = teaches[:, None, None, None]
        targets = tumour_targets(slices.labels, slices.label_kind)
        return SynthesisBatch(
            condition=conditions.images,
            availability=conditions.availability,
            asked=self.objective.ask(picture, noise, t),
            x_t=torch.where(taught, self.objective.show(picture, noise, t), self.objective.idle(noise)),
            t=self.objective.clock(t),
            enhancing=enhancing,
            weight=pixel_weight(slices, self.settings.lesion_weight) * taught,
            tumour=targets.masks[:, :1],
            tumour_known=targets.known[:, :1],
        ).to(self.device)

    def _picture(self, slices: SliceBatch, conditions: Conditions) -> tuple[Tensor, Tensor]:
        """Return what is drawn, (B, 1, H, W), T1Gd or its difference from the T1 shown, and where it is known, (B,)."""
        image, known = slices.images[Sequence.T1GD], slices.present[Sequence.T1GD]
        if self.base is None:
            return image, known
        middle = self.base * self.settings.slices + self.settings.slices // 2
        return image - conditions.images[:, middle, None], known & (conditions.availability[:, self.base] != MISSING)

    def __call__(self, batch: SynthesisBatch) -> dict[str, float]:
        """Move the model by one step; see TrainingStep."""
        return minimise(self._terms, batch, self.optimisers["synthesiser"], masses=_masses)

    def _terms(self, batch: SynthesisBatch) -> dict[str, Term]:
        synthesis, segmentation = self._losses(batch)
        return {"synthesis": Term(synthesis), "segmentation": Term(segmentation, self.settings.segmentation_weight)}

    def _losses(self, batch: SynthesisBatch) -> tuple[Tensor, Tensor]:
        with half_precision(self.device):
            drawn = self.model(batch.x_t, batch.t, batch.condition, batch.enhancing, batch.availability)
        synthesis = weighted_error(drawn.image.float(), batch.asked, batch.weight, self.objective.squared)
        return synthesis, tumour_loss(drawn.tumour_logits, batch.tumour, batch.tumour_known)

    @torch.no_grad()
    def evaluate(self, store: CaseStore) -> dict[str, Counted]:
        """Return both losses on fixed slices of held-out cases at fixed, evenly spaced times and fixed noise."""
        slices = fixed_slices(store, self.can_train)
        if slices is None:
            return {}
        conditions = self._conditions(store, slices)
        generator = torch.Generator().manual_seed(0)
        count = len(slices.case_index)
        totals = torch.zeros(2)
        for number in range(EVALUATION_TIMES):
            t = self.objective.time_at((2 * number + 1) / (2 * EVALUATION_TIMES), count)
            batch = self._noised(store, slices, conditions, t, generator)
            totals += torch.stack(self._losses(batch)).cpu() / EVALUATION_TIMES
            patients = int((batch.weight > 0).flatten(1).any(1).sum()), int(batch.tumour_known.any(1).sum())
        found = zip(("synthesis", "segmentation"), totals.tolist(), patients, strict=True)
        return {name: Counted(value, count) for name, value, count in found if count}

    def patients(self) -> dict[str, int]:
        """Return the number of patients that teach anything; all parameters are shared."""
        return {SHARED: len(self.store.patients(self.can_train))}

    def behind(self) -> dict[str, int]:
        """Return the patients behind either loss; their sum stands on the fewer, or it would tell the rarer one."""
        drawn, labelled = len(self.store.patients(self._is_drawn)), len(self.store.patients(_is_labelled))
        there = [count for count in (drawn, labelled) if count]
        return {"synthesis": drawn, "segmentation": labelled, "loss": min(there)}

    def can_train(self, case: CachedCase) -> bool:
        """Whether a case has something to draw from without gadolinium, and a target for either loss."""
        return self._has_target(case) or _is_labelled(case)

    def _has_target(self, case: CachedCase) -> bool:
        told = not self.settings.use_label or enhancing_label(case) is not None
        return has_condition(case) and Sequence.T1GD in case.sequences and told

    def _is_drawn(self, case: CachedCase) -> bool:
        """Whether a case's T1Gd is learnt from: its difference from T1 needs a T1, real or filled."""
        return self._has_target(case) and (self.base is None or self.filler.can_show(case, Sequence.T1))


def _is_labelled(case: CachedCase) -> bool:
    return has_condition(case) and case.label_kind is not LabelKind.NONE


def _masses(batch: SynthesisBatch) -> dict[str, float]:
    """What each loss divides by; Dice inside the segmentation's has no mass, so splitting changes it a little."""
    return {"synthesis": float(batch.weight.sum()), "segmentation": float(batch.tumour_known.sum())}


def objective_of(settings: SynthesiserStage) -> Objective:
    """Return what the study's family of synthesiser learns."""
    match settings.synthesiser:
        case "diffusion":
            return DiffusionObjective(
                schedule_of(settings.noise_schedule, settings.diffusion_steps), settings.prediction
            )
        case "flow":
            return FlowObjective()
        case "e2e":
            return DirectObjective()


def pixel_weight(slices: SliceBatch, lesion_weight: float) -> Tensor:
    """Return the weight of each pixel's error, (B, 1, H, W): 1 in the brain, `lesion_weight` more in the tumour core
    (in the whole tumour where the core is not labelled), little outside, where all is background."""
    targets = tumour_targets(slices.labels, slices.label_kind)
    core_known = targets.known[:, 1, None, None, None]
    lesion = torch.where(core_known, targets.masks[:, 1:2], targets.masks[:, :1])
    inside = slices.brain.float()
    return inside + lesion_weight * lesion * inside + BACKGROUND_WEIGHT * (1 - inside)


def build_step(model: nn.Module, place: Workplace) -> SynthesisStep:
    """Return the synthesiser's step at a site. Raises NothingToTrainError where no case fits."""
    if place.study.stages.synthesiser is None or not isinstance(model, ConditionalUNet):
        raise ValueError("the study has no synthesiser stage, or the model is not its network")
    filler = open_filler(place)
    return SynthesisStep(
        model, place.study.stages.synthesiser, training_part(place.store, place.study), filler, place.device
    )
