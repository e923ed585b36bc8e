"""One step of paired map synthesis: draw a target that the case really has from a subset of its other sequences.

Targets are always real, and so are inputs: what a case lacks is marked as missing, never filled, since a fill of T1Gd
is no evidence of gadolinium. The error counts inside the brain, more inside the tumour where the study says so;
outside, the drawn map is background, before any critic sees it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import functional_call

from client.data.augmentation import mirror_some
from client.data.cache import CachedCase
from client.data.dataset import CaseStore, SliceBatch
from client.precision import half_precision
from client.privacy.private_step import Move
from client.training.accumulation import Term, minimise, weighted_sum
from client.training.batches import move
from client.training.filled_inputs import stack_of
from client.training.fixed_slices import fixed_slices
from client.training.optimisers import adamw
from client.training.trainer import NothingToTrainError
from client.training.update import Counted
from client.training.workplace import Workplace
from common.generative.adversarial import discriminator_loss, generator_loss
from common.generative.paired import dissimilarity, feature_distance, weighted_error
from common.metrics.fidelity import mean_absolute_error, measure, to_greys
from common.nets.map_synthesiser import Judgement, MapSynthesiser, visible
from common.parameters import SHARED
from common.settings.stages import MapsStage

BACKGROUND = -1.0
MOMENTA = (0.5, 0.999)
"""Adam's betas where there is a critic, as in pix2pix."""


@dataclass(frozen=True)
class PairedBatch:
    """B slices.

    Attributes:
        images: the inputs, (B, inputs, H, W), background where the case lacks them.
        available: what the network may see of them, (B, inputs) bool.
        true: the real target, (B, 1, H, W).
        brain: (B, 1, H, W) bool.
        weight: of each pixel's absolute error, (B, 1, H, W); zero outside the brain.
    """

    images: Tensor
    available: Tensor
    true: Tensor
    brain: Tensor
    weight: Tensor

    def to(self, device: torch.device) -> PairedBatch:
        """Return the batch on `device`."""
        return move(self, device)


class PairedStep:
    """Draws subsets and moves drawer and critic; see the module's text."""

    def __init__(self, model: MapSynthesiser, settings: MapsStage, store: CaseStore, device: torch.device) -> None:
        self.model = model.to(device)
        self.settings, self.device = settings, device
        # Every slice with any brain: whole volumes are drawn later, and an unseen vertex or skull base goes wrong.
        self.store = CaseStore(store.cases, store.sequences, minimum_brain=0.0, tumour_share=store.tumour_share)
        if not self.store.patients(self.teaches):
            named = ", ".join(settings.inputs)
            needed = f"all of {named}" if settings.subsets == "all-inputs" else f"any of {named}"
            raise NothingToTrainError(f"no case has {settings.target} and {needed}")
        self.optimisers: Mapping[str, torch.optim.Optimizer] = {
            name: adamw(
                net.parameters(),
                settings.learning_rate,
                settings.weight_decay,
                (0.9, 0.999) if model.critic is None else MOMENTA,
            )
            for name, net in (("drawer", model.drawer), ("critic", model.critic))
            if net is not None
        }

    def teaches(self, case: CachedCase) -> bool:
        """Whether a case has the target, and enough inputs."""
        held = [sequence in case.sequences for sequence in self.settings.inputs]
        enough = all(held) if self.settings.subsets == "all-inputs" else any(held)
        return enough and self.settings.target in case.sequences

    def draw(self, generator: torch.Generator) -> PairedBatch:
        """Draw slices and, where one model is to serve any subset, a subset of what each case holds."""
        return self._slices(self.store, self.settings.batch_size, generator)

    def trained_patients(self) -> tuple[str, ...]:
        """Return the patients with the target and enough inputs; see PatientStep."""
        return tuple(self.store.patients(self.teaches))

    def draw_of(self, patient: str, generator: torch.Generator) -> PairedBatch:
        """Draw one slice of `patient`; see PatientStep."""
        return self._slices(self.store.of_patient(patient), 1, generator)

    def moves(self, number: int) -> tuple[Move, ...]:
        """Return the critic's, where there is one, and the drawer's; see PatientStep."""
        drawer = Move("drawer", lambda batch: weighted_sum(self._terms(batch)))
        return (drawer,) if self.model.critic is None else (Move("critic", self._criticism), drawer)

    def _criticism(self, batch: PairedBatch) -> Tensor:
        return weighted_sum(self._judged(batch))

    def _slices(self, store: CaseStore, count: int, generator: torch.Generator) -> PairedBatch:
        slices = mirror_some(store.draw(count, generator, self.teaches), generator)
        held = self._held(slices)
        return self._batch(slices, held if self.settings.subsets == "all-inputs" else some_of(held, generator))

    def _held(self, slices: SliceBatch) -> Tensor:
        return torch.stack([slices.present[sequence] for sequence in self.settings.inputs], dim=1)

    def _batch(self, slices: SliceBatch, available: Tensor) -> PairedBatch:
        lesion = slices.whole_tumour.float()
        return PairedBatch(
            images=stack_of(slices, self.settings.inputs),
            available=available,
            true=slices.images[self.settings.target],
            brain=slices.brain,
            weight=slices.brain * (1 + self.settings.lesion_weight * lesion),
        ).to(self.device)

    def __call__(self, batch: PairedBatch) -> dict[str, float]:
        """Move the critic, where there is one, then the drawer; see TrainingStep."""
        losses: dict[str, float] = {}
        if self.model.critic is not None:
            losses["discriminator"] = minimise(self._judged, batch, self.optimisers["critic"])["loss"]
        return losses | minimise(self._terms, batch, self.optimisers["drawer"], masses=_masses)

    def _drawn(self, batch: PairedBatch) -> Tensor:
        """Return the drawn map, (B, 1, H, W), background outside the brain."""
        with half_precision(self.device):
            drawn = self.model(batch.images, batch.available)
        return torch.where(batch.brain, drawn.float(), BACKGROUND)

    def _judged(self, batch: PairedBatch) -> dict[str, Term]:
        """Return the critic's loss in telling true from drawn maps; none of its gradient reaches the drawer."""
        assert self.model.critic is not None  # noqa: S101
        with torch.no_grad():
            drawn = self._drawn(batch)
        with half_precision(self.device):
            true_logits = self.model.critic(self._seen(batch, batch.true)).logits
            drawn_logits = self.model.critic(self._seen(batch, drawn)).logits
        return {"loss": Term(discriminator_loss(true_logits.float(), drawn_logits.float()))}

    def _seen(self, batch: PairedBatch, picture: Tensor) -> Tensor:
        """Return what the critic sees: pix2pix shows it the inputs, as far as the drawer saw them."""
        if self.settings.objective != "pix2pix":
            return picture
        return torch.cat([visible(batch.images, batch.available), picture], dim=1)

    def _terms(self, batch: PairedBatch) -> dict[str, Term]:
        """Return each part of the drawer's loss with its weight."""
        settings, drawn = self.settings, self._drawn(batch)
        terms = {"synthesis": Term(weighted_error(drawn, batch.true, batch.weight))}
        if settings.ssim_weight:
            terms["dissimilarity"] = Term(dissimilarity(drawn, batch.true, batch.brain), settings.ssim_weight)
        if self.model.critic is None:
            return terms
        judged = self._judgement(self.model.critic, batch, drawn)
        terms["adversarial"] = Term(generator_loss(judged.logits.float()), settings.adversarial_weight)
        if settings.objective == "feature-consistency":
            with torch.no_grad():
                wanted = self._judgement(self.model.critic, batch, batch.true)
            terms["features"] = Term(feature_distance(judged.features, wanted.features), settings.feature_weight)
        return terms

    def _judgement(self, critic: nn.Module, batch: PairedBatch, picture: Tensor) -> Judgement:
        """Return the critic's judgement on a graph that ends at the picture: the critic itself gets no gradient."""
        still = {name: parameter.detach() for name, parameter in critic.named_parameters()}
        with half_precision(self.device):
            judged: Judgement = functional_call(critic, still, (self._seen(batch, picture),))
        return judged

    @torch.no_grad()
    def evaluate(self, store: CaseStore) -> dict[str, Counted]:
        """Return error and SSIM in the brain, and error in the tumour, from all that each held-out case holds.

        In grey levels of 255, one slice a patient (`fixed_slices`).
        """
        slices = fixed_slices(store, self.teaches)
        if slices is None:
            return {}
        drawn = to_greys(self._drawn(self._batch(slices, self._held(slices))).clamp(-1, 1).cpu().numpy()[:, 0])
        true = to_greys(slices.images[self.settings.target].numpy()[:, 0])
        brain = slices.brain.numpy()[:, 0]
        found = measure(drawn, true, brain)
        inside = brain & slices.whole_tumour.numpy()[:, 0]
        lesion = mean_absolute_error(drawn, true, inside)
        all_of, with_lesion = (int(mask.any(axis=(1, 2)).sum()) for mask in (brain, inside))
        scores = {} if found is None else {"mae": Counted(found.mae, all_of), "ssim": Counted(found.ssim, all_of)}
        return scores if lesion is None else {**scores, "mae_lesion": Counted(lesion, with_lesion)}

    def patients(self) -> dict[str, int]:
        """Return the number of patients with the target and enough inputs; all parameters are shared."""
        return {SHARED: len(self.store.patients(self.teaches))}

    def behind(self) -> dict[str, int]:
        """Name no loss: all stand on all patients."""
        return {}


def _masses(batch: PairedBatch) -> dict[str, float]:
    """What the error and the dissimilarity divide by; the critic's terms divide by rows."""
    return {"synthesis": float(batch.weight.sum()), "dissimilarity": float(batch.brain.sum())}


def some_of(held: Tensor, generator: torch.Generator) -> Tensor:
    """Return, for each row of held (B, C) bool, one of its non-empty subsets, all of them equally likely."""
    subsets = held.new_zeros(held.shape)
    for row, flags in enumerate(held):
        places = flags.nonzero().squeeze(1)
        code = int(torch.randint(1, 2 ** len(places), (), generator=generator))
        subsets[row, places] = torch.tensor([bool(code >> bit & 1) for bit in range(len(places))])
    return subsets


def build_step(model: nn.Module, place: Workplace) -> PairedStep:
    """Return the maps' step at a site. Raises NothingToTrainError where no case fits."""
    if place.study.stages.maps is None or not isinstance(model, MapSynthesiser):
        raise ValueError("the study has no maps stage, or the model is not its network")
    return PairedStep(model, place.study.stages.maps, place.store, place.device)
