"""One step of the CBSI diffusion (Nat Commun 17:2162) on a site's incomplete data.

Loss: lesion-weighted L1 between drawn and real T1Gd, plus lambda_seg times the whole-tumour loss of the auxiliary
decoder. A case without T1Gd, or whose label δ is unknown, trains the auxiliary decoder alone: it is shown pure noise at
the last step, as in sampling. Missing T1 or FLAIR are filled by the frozen generator, never from T1Gd.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from client.data.augmentation import mirror_some
from client.data.cache import CachedCase, LabelKind
from client.data.dataset import CaseStore, SliceBatch
from client.training.accumulation import Term, minimise
from client.training.batches import move
from client.training.filled_inputs import CONDITION, Filler, enhancing_label, has_condition, open_filler, stack_of
from client.training.fixed_slices import fixed_slices
from client.training.optimisers import adamw
from client.training.trainer import NothingToTrainError, half_precision
from client.training.tumour_loss import tumour_loss, tumour_targets
from common.generative.diffusion import add_noise
from common.generative.noise_schedule import cosine_schedule
from common.nets.conditional_unet import ConditionalUNet
from common.parameters import SHARED
from common.sequences import Domain, Sequence
from common.study import Stage, Study, SynthesiserStage

BACKGROUND_WEIGHT = 0.1
EVALUATION_TIMES = 4


@dataclass(frozen=True)
class DiffusionBatch:
    """B slices with the noise they are shown in.

    Attributes:
        condition: T1 and FLAIR, real or filled, (B, 2, H, W).
        image: real T1Gd, (B, 1, H, W), meaningful where `weight` is positive.
        x_t: noised T1Gd, pure noise where it trains nothing, (B, 1, H, W).
        t: noise step, (B,) int64.
        enhancing: label δ, (B,) int64; drawn by lot where unknown.
        weight: weight of each pixel's absolute error, (B, 1, H, W); zero where T1Gd or δ is unknown.
        tumour: whole-tumour mask, (B, 1, H, W) float.
        tumour_known: (B, 1) bool.
    """

    condition: Tensor
    image: Tensor
    x_t: Tensor
    t: Tensor
    enhancing: Tensor
    weight: Tensor
    tumour: Tensor
    tumour_known: Tensor

    def to(self, device: torch.device) -> DiffusionBatch:
        """Return the batch on `device`."""
        return move(self, device)


class DiffusionStep:
    """Draws noised slices and moves the conditional U-Net; see the module's text."""

    def __init__(
        self, model: ConditionalUNet, settings: SynthesiserStage, store: CaseStore, filler: Filler, device: torch.device
    ) -> None:
        self.model: nn.Module = model.to(device)
        self.settings, self.filler, self.device = settings, filler, device
        # Every slice with any brain: whole volumes are completed later, and an unseen vertex or skull base goes wrong.
        self.store = CaseStore(store.cases, store.sequences, minimum_brain=0.0, tumour_share=store.tumour_share)
        self.schedule = cosine_schedule(settings.diffusion_steps)
        if not store.patients(can_train):
            raise NothingToTrainError(
                "no case has T1Gd with a known BBB status, or tumour labels, beside T1, T2 or FLAIR"
            )
        self.optimisers: Mapping[str, torch.optim.Optimizer] = {
            "synthesiser": adamw(model.parameters(), settings.learning_rate, settings.weight_decay)
        }

    def draw(self, generator: torch.Generator) -> DiffusionBatch:
        """Draw slices, times, noise and, where δ is unknown, labels."""
        slices = self.store.draw(self.settings.batch_size, generator, can_train)
        completed = mirror_some(self.filler.fill_condition(self.store, slices), generator)
        t = torch.randint(self.schedule.steps, (self.settings.batch_size,), generator=generator)
        return self._noised(self.store, completed, t, generator)

    def _noised(self, store: CaseStore, slices: SliceBatch, t: Tensor, generator: torch.Generator) -> DiffusionBatch:
        """Return completed slices in the noise of times t, (B,)."""
        labels = [enhancing_label(store.cases[index]) for index in slices.case_index.tolist()]
        lots = torch.randint(2, (len(labels),), generator=generator)
        enhancing = torch.tensor([int(lots[row]) if label is None else label for row, label in enumerate(labels)])
        teaches = slices.present[Sequence.T1GD] & torch.tensor([label is not None for label in labels])
        noise = torch.randn(slices.brain.shape, generator=generator)
        t = torch.where(teaches, t, self.schedule.steps - 1)
        image = slices.images[Sequence.T1GD]
        x_t = torch.where(teaches[:, None, None, None], add_noise(image, noise, t, self.schedule), noise)
        targets = tumour_targets(slices.labels, slices.label_kind)
        return DiffusionBatch(
            condition=stack_of(slices, CONDITION),
            image=image,
            x_t=x_t,
            t=t,
            enhancing=enhancing,
            weight=pixel_weight(slices, self.settings.lesion_weight) * teaches[:, None, None, None],
            tumour=targets.masks[:, :1],
            tumour_known=targets.known[:, :1],
        ).to(self.device)

    def __call__(self, batch: DiffusionBatch) -> dict[str, float]:
        """Move the model by one step; see TrainingStep."""
        return minimise(self._terms, batch, self.optimisers["synthesiser"], masses=_masses)

    def _terms(self, batch: DiffusionBatch) -> dict[str, Term]:
        synthesis, segmentation = self._losses(batch)
        return {"synthesis": Term(synthesis), "segmentation": Term(segmentation, self.settings.segmentation_weight)}

    def _losses(self, batch: DiffusionBatch) -> tuple[Tensor, Tensor]:
        with half_precision(self.device):
            drawn = self.model(batch.x_t, batch.t, batch.condition, batch.enhancing)
        synthesis = weighted_l1(drawn.image.float(), batch.image, batch.weight)
        return synthesis, tumour_loss(drawn.tumour_logits, batch.tumour, batch.tumour_known)

    @torch.no_grad()
    def evaluate(self, store: CaseStore) -> dict[str, float]:
        """Return both losses on fixed slices of held-out cases at fixed, evenly spaced times and fixed noise."""
        slices = fixed_slices(store, can_train)
        if slices is None:
            return {}
        slices = self.filler.fill_condition(store, slices)
        generator = torch.Generator().manual_seed(0)
        count = len(slices.case_index)
        totals = torch.zeros(2)
        for number in range(EVALUATION_TIMES):
            t = torch.full((count,), (2 * number + 1) * self.schedule.steps // (2 * EVALUATION_TIMES))
            batch = self._noised(store, slices, t, generator)
            totals += torch.stack(self._losses(batch)).cpu() / EVALUATION_TIMES
        return {"synthesis": float(totals[0]), "segmentation": float(totals[1])}

    def patients(self) -> dict[str, int]:
        """Return the number of patients that teach anything; all parameters are shared."""
        return {SHARED: len(self.store.patients(can_train))}


def _masses(batch: DiffusionBatch) -> dict[str, float]:
    """What each loss divides by; Dice inside the segmentation's has no mass, so splitting changes it a little."""
    return {"synthesis": float(batch.weight.sum()), "segmentation": float(batch.tumour_known.sum())}


def can_train(case: CachedCase) -> bool:
    """Whether a case has T1 and FLAIR, real or filled without gadolinium, and a target for either loss."""
    drawn = Sequence.T1GD in case.sequences and enhancing_label(case) is not None
    return has_condition(case) and (drawn or case.label_kind is not LabelKind.NONE)


def pixel_weight(slices: SliceBatch, lesion_weight: float) -> Tensor:
    """Return the weight of each pixel's error, (B, 1, H, W): 1 in the brain, `lesion_weight` more in the tumour core
    (in the whole tumour where the core is not labelled), little outside, where all is background."""
    targets = tumour_targets(slices.labels, slices.label_kind)
    core_known = targets.known[:, 1, None, None, None]
    lesion = torch.where(core_known, targets.masks[:, 1:2], targets.masks[:, :1])
    inside = slices.brain.float()
    return inside + lesion_weight * lesion * inside + BACKGROUND_WEIGHT * (1 - inside)


def weighted_l1(drawn: Tensor, image: Tensor, weight: Tensor) -> Tensor:
    """Return the weighted mean absolute error; zero, without gradient, where no weight is positive."""
    total = weight.sum()
    if not bool(total > 0):
        return torch.zeros((), device=drawn.device)
    return (weight * (drawn - image).abs()).sum() / total


def build_step(
    model: nn.Module,
    study: Study,
    domains: tuple[Domain, ...],
    site_name: str,
    store: CaseStore,
    frozen: Mapping[Stage, nn.Module],
    device: torch.device,
) -> DiffusionStep:
    """Return the synthesiser's step at a site. Raises NothingToTrainError where no case fits."""
    if study.stages.synthesiser is None or not isinstance(model, ConditionalUNet):
        raise ValueError("the study has no synthesiser stage, or the model is not its network")
    filler = open_filler(study, domains, site_name, store, frozen)
    return DiffusionStep(model, study.stages.synthesiser, store, filler, device)
