"""One step of the UMMGAT game (npj Precis Onc 9:384) on a site's incomplete data.

A row of a batch is a source slice, mirrored by lot, with a target domain and a style: of the rows half take the
domain's typical style, a quarter one that the mapper draws, a quarter that of a picture. Where the target is one of the
site's own domains, a real picture of it from another draw is the reference: the encoder reads the style from it, the
discriminator sees it as real. Where the target belongs to another site, the style is always the mapper's, and that
site's heads stay frozen; what is drawn towards it never updates a discriminator. A row whose target is its own source
is the identity; a row whose patient has the target registered to the source carries a paired target, unless the study
says `pairs = "ignore"`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from client.data.augmentation import mirror_some
from client.data.cache import CachedCase, LabelKind
from client.data.dataset import CaseStore
from client.training.batches import move
from client.training.optimisers import adamw
from client.training.trainer import NothingToTrainError, descend, half_precision
from common.generative.adversarial import discriminator_loss, generator_loss, r1_penalty
from common.nets.ummgat import Ummgat
from common.parameters import DOMAIN_PREFIX, SHARED
from common.sequences import Domain, Sequence
from common.study import Stage, Study

IDENTITY_SHARE = 0.15
OWN_PAIR_SHARE = 0.6
FOREIGN_SHARE = 0.25
TYPICAL_STYLE_SHARE = 0.5
"""Of the rows, in quarters, in the typical style: the one that fills and harmonizes."""
PICTURE_SHARE = 0.25
"""Of the rows, in quarters, in the style of the reference, where the target is the site's own. The rest take a drawn
style."""
R1_EVERY = 4


@dataclass(frozen=True)
class GanBatch:
    """B rows of the game.

    Attributes:
        source, target, reference: greys (B, 1, H, W) in [-1, 1]; `target` is meaningful where `paired`,
            `reference` where `own`.
        source_number, target_number: domain numbers (B,).
        brain, lesion, reference_lesion: masks (B, 1, H, W) bool; empty lesions where unknown.
        paired: (B,) the target is registered to the source.
        own: (B,) the target domain is the site's.
        latent: the mapper's z (B, Z), zero in the rows that train the typical style.
        by_picture: (B,) the style is read from the reference instead.
    """

    source: Tensor
    source_number: Tensor
    target: Tensor
    target_number: Tensor
    reference: Tensor
    brain: Tensor
    lesion: Tensor
    reference_lesion: Tensor
    paired: Tensor
    own: Tensor
    latent: Tensor
    by_picture: Tensor

    def to(self, device: torch.device) -> GanBatch:
        """Return the batch on `device`."""
        return move(self, device)


class GanStep:
    """Draws batches, updates discriminator, then generator, encoder and mapper; see the module's text."""

    def __init__(self, model: Ummgat, study: Study, site: str, store: CaseStore, device: torch.device) -> None:
        settings = study.stages.generator
        if settings is None:
            raise ValueError("the study has no generator stage")
        self.model, self.store, self.device, self.settings = model.to(device), store, device, settings
        self.use_pairs = study.data.pairs == "use"
        self.images = tuple(domain for domain in model.domains if not domain.lesion)
        held = {sequence for case in store.cases for sequence in case.sequences}
        own = [domain for domain in self.images if domain.site == site and domain.sequence in held]
        self.own = {domain.sequence: model.number(domain) for domain in own}
        self.foreign = [model.number(domain) for domain in self.images if domain.site != site]
        self.site = site
        if not self.own:
            raise NothingToTrainError("no case has a sequence of the study")
        self._train_own_heads_alone()
        self.judging = _trainable(model.discriminator)
        drawing = _trainable(model.generator) + _trainable(model.encoder) + _trainable(model.mapper)
        self.optimisers: Mapping[str, torch.optim.Optimizer] = {
            "generator": _adam(drawing, settings.learning_rate, settings.weight_decay),
            "discriminator": _adam(self.judging, settings.discriminator_learning_rate, settings.weight_decay),
        }
        self.steps = 0

    def _train_own_heads_alone(self) -> None:
        """Freeze the heads of other sites' domains: they are trained where their images are."""
        own = {domain.key for domain in self.model.domains if domain.site == self.site}
        for net in (self.model.encoder, self.model.mapper, self.model.discriminator):
            for key, head in net.out.heads.items():
                head.requires_grad_(key in own)

    # ---- drawing a batch

    def draw(self, generator: torch.Generator) -> GanBatch:
        """Draw one batch: source slices, target domains, references and, where allowed, paired targets."""
        count = self.settings.batch_size
        drawn = self.store.draw(count, generator, lambda case: bool(set(case.sequences) & set(self.own)))
        sources = mirror_some(drawn, generator)
        picks = [self._pick(self.store.cases[index], generator) for index in sources.case_index.tolist()]
        numbers = {number: sequence for sequence, number in self.own.items()}
        source = torch.stack([sources.images[sequence][row] for row, (sequence, _) in enumerate(picks)])
        target = torch.full_like(source, -1)
        reference = torch.full_like(source, -1)
        reference_lesion = torch.zeros_like(sources.brain)
        paired = torch.zeros(count, dtype=torch.bool)
        own = torch.zeros(count, dtype=torch.bool)
        for row, (sequence, number) in enumerate(picks):
            wanted = numbers.get(number)
            if wanted is None:
                continue
            own[row] = True
            if wanted == sequence or (self.use_pairs and bool(sources.present[wanted][row])):
                paired[row] = True
                target[row] = sources.images[wanted][row]
            other = self.store.draw(1, generator, _holding(wanted))
            reference[row] = other.images[wanted][0]
            reference_lesion[row] = other.whole_tumour[0]
        rows = torch.arange(count)
        latent = torch.randn(count, self.model.mapper.latent_size, generator=generator)
        return GanBatch(
            source=source,
            source_number=torch.tensor([self.own[sequence] for sequence, _ in picks]),
            target=target,
            target_number=torch.tensor([number for _, number in picks]),
            reference=reference,
            brain=sources.brain,
            lesion=sources.whole_tumour,
            reference_lesion=reference_lesion,
            paired=paired,
            own=own,
            latent=torch.where((rows % 4 < 4 * TYPICAL_STYLE_SHARE)[:, None], 0.0, latent),
            by_picture=own & (rows % 4 >= 4 * (1 - PICTURE_SHARE)),
        ).to(self.device)

    def _pick(self, case: CachedCase, generator: torch.Generator) -> tuple[Sequence, int]:
        """Choose a source sequence of `case` and a target domain's number."""
        held = [sequence for sequence in case.sequences if sequence in self.own]
        source = held[_below(len(held), generator)]
        chance = float(torch.rand((), generator=generator))
        if chance < IDENTITY_SHARE:
            return source, self.own[source]
        chance = (chance - IDENTITY_SHARE) / (1 - IDENTITY_SHARE)
        partners = [sequence for sequence in held if sequence != source]
        if self.use_pairs and partners and chance < OWN_PAIR_SHARE:
            return source, self.own[partners[_below(len(partners), generator)]]
        if self.foreign and float(torch.rand((), generator=generator)) < FOREIGN_SHARE:
            return source, self.foreign[_below(len(self.foreign), generator)]
        numbers = [number for sequence, number in sorted(self.own.items()) if sequence != source] or [self.own[source]]
        return source, numbers[_below(len(numbers), generator)]

    # ---- one step

    def __call__(self, batch: GanBatch) -> dict[str, float]:
        """Update discriminator and generator on one batch and return the losses."""
        with self._autocast():
            style = self._target_style(batch)
            drawn = self._redraw(batch.source, style, batch.brain)
        losses = self._judge(batch, drawn.detach())
        losses |= self._improve(batch, style, drawn)
        self.steps += 1
        return losses

    def _judge(self, batch: GanBatch, drawn: Tensor) -> dict[str, float]:
        """Update the discriminator on the rows of the site's own domains, R1 on every `R1_EVERY`-th step."""
        if not bool(batch.own.any()):
            return {}
        judge = self.model.discriminator
        real, number = batch.reference[batch.own], batch.target_number[batch.own]
        with_r1 = self.steps % R1_EVERY == 0
        real.requires_grad_(with_r1)
        real_logits = judge(real, number)
        loss = discriminator_loss(real_logits, judge(drawn[batch.own], number))
        total = loss
        if with_r1:
            total = loss + self.settings.r1_weight * R1_EVERY * r1_penalty(real_logits, real)
        self._step("discriminator", total)
        return {"discriminator": float(loss.detach())}

    def _improve(self, batch: GanBatch, style: Tensor, drawn: Tensor) -> dict[str, float]:
        """Update generator, encoder and mapper."""
        settings, model = self.settings, self.model
        with _frozen(self.judging):
            terms = {
                "adversarial": (
                    settings.adversarial_weight,
                    generator_loss(model.discriminator(drawn, batch.target_number)),
                )
            }
            with self._autocast():
                code = model.encoder(drawn, batch.target_number)
            terms["style"] = (settings.style_weight, (code - style).abs().mean())
            terms |= self._lesion_style(batch, drawn) | self._paired(batch, drawn) | self._cycle(batch, drawn)
            self._step("generator", torch.stack([weight * term for weight, term in terms.values()]).sum())
        return {name: float(term.detach()) for name, (_, term) in terms.items()}

    def _target_style(self, batch: GanBatch) -> Tensor:
        """Return codes (B, S): of the reference for the rows `by_picture`, of the mapper elsewhere."""
        style: Tensor = self.model.mapper(batch.latent, batch.target_number)
        rows = batch.by_picture.nonzero().squeeze(1)
        if not len(rows):
            return style
        seen = self.model.encoder(batch.reference[rows], batch.target_number[rows])
        return style.index_put((rows,), seen.to(style.dtype))

    def _lesion_style(self, batch: GanBatch, drawn: Tensor) -> dict[str, tuple[float, Tensor]]:
        """Compare the codes of the drawn lesion and of the reference's lesion under the twin's head (UMMGAT LAM)."""
        rows = batch.own & batch.lesion.flatten(1).any(1) & batch.reference_lesion.flatten(1).any(1)
        if self.settings.lesion_style_weight == 0 or not bool(rows.any()):
            return {}
        twin = batch.target_number[rows] + len(self.images)
        with self._autocast():
            wanted = self.model.encoder(_only(batch.reference[rows], batch.reference_lesion[rows]), twin)
            code = self.model.encoder(_only(drawn[rows], batch.lesion[rows]), twin)
        return {"lesion_style": (self.settings.lesion_style_weight, (code - wanted).abs().mean())}

    def _paired(self, batch: GanBatch, drawn: Tensor) -> dict[str, tuple[float, Tensor]]:
        """Absolute error to the registered target, lesions weighted, identity rows apart."""
        identity = batch.paired & (batch.source_number == batch.target_number)
        pairs = batch.paired & ~identity
        weights = {"identity": self.settings.identity_weight, "paired": self.settings.paired_weight}
        terms = {}
        for name, rows in (("identity", identity), ("paired", pairs)):
            if bool(rows.any()):
                weight = batch.brain[rows] * (1 + self.settings.paired_lesion_weight * batch.lesion[rows])
                error = (drawn[rows] - batch.target[rows]).abs()
                terms[name] = (weights[name], (error * weight).sum() / weight.sum())
        return terms

    def _cycle(self, batch: GanBatch, drawn: Tensor) -> dict[str, tuple[float, Tensor]]:
        """Redraw the unpaired rows back in their source's own style."""
        rows = ~batch.paired
        if self.settings.cycle_weight == 0 or not bool(rows.any()):
            return {}
        source, brain = batch.source[rows], batch.brain[rows]
        with self._autocast():
            style = self.model.encoder(source, batch.source_number[rows])
            back = self._redraw(drawn[rows], style, brain)
        return {"cycle": (self.settings.cycle_weight, ((back - source).abs() * brain).sum() / brain.sum())}

    def _redraw(self, image: Tensor, style: Tensor, brain: Tensor) -> Tensor:
        """Draw inside the brain; outside stays background, -1."""
        return torch.where(brain, self.model.generator(image, style).float(), -1.0)

    def _step(self, name: str, loss: Tensor) -> None:
        descend(loss, {}, self.optimisers[name])

    def _autocast(self) -> torch.autocast:
        return half_precision(self.device)

    # ---- what the federation asks

    def patients(self) -> dict[str, int]:
        """Return how many patients touch each parameter group: all, and those that hold each domain or its lesions."""
        counts = {SHARED: len(self.store.patients(lambda case: bool(set(case.sequences) & set(self.own))))}
        for sequence, number in self.own.items():
            domain = self.model.domains[number]
            counts[DOMAIN_PREFIX + domain.key] = len(self.store.patients(_holding(sequence)))
            counts[DOMAIN_PREFIX + domain.twin.key] = len(self.store.patients(_lesion_of(sequence)))
        return {group: count for group, count in counts.items() if count}

    @torch.inference_mode()
    def evaluate(self, store: CaseStore) -> dict[str, float]:
        """Mean absolute error (grey levels of 255, in the brain) over registered pairs of `store`, and of copying."""
        drawn_errors: list[float] = []
        copy_errors: list[float] = []
        for index, case in enumerate(store.cases):
            held = [sequence for sequence in case.sequences if sequence in self.own]
            usable = store.usable[index]
            if len(held) < 2 or not len(usable):
                continue
            batch = store.take([(index, int(k)) for k in usable[:: max(1, len(usable) // 4)]])
            for source, target in ((a, b) for a in held for b in held if a != b):
                image, wanted = batch.images[source].to(self.device), batch.images[target].to(self.device)
                drawn = self.model.translate(image, self.model.domains[self.own[target]])
                brain = batch.brain.to(self.device)
                drawn_errors.append(float((drawn - wanted).abs()[brain].mean()) * 127.5)
                copy_errors.append(float((image - wanted).abs()[brain].mean()) * 127.5)
        if not drawn_errors:
            return {}
        return {
            "mae": sum(drawn_errors) / len(drawn_errors),
            "mae_copy": sum(copy_errors) / len(copy_errors),
        }


def build_step(
    model: nn.Module,
    study: Study,
    domains: tuple[Domain, ...],
    site_name: str,
    store: CaseStore,
    frozen: Mapping[Stage, nn.Module],
    device: torch.device,
) -> GanStep:
    """Return the generator stage's step at one site. Raises NothingToTrainError where no case fits."""
    if not isinstance(model, Ummgat) or model.domains != domains:
        raise ValueError("the generator stage trains a Ummgat over the plan's domains")
    return GanStep(model, study, site_name, store, device)


@contextmanager
def _frozen(parameters: list[nn.Parameter]) -> Iterator[None]:
    """Keep gradients out of `parameters` for a while: the generator's step needs none of the discriminator's."""
    for parameter in parameters:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in parameters:
            parameter.requires_grad_(True)


def _only(image: Tensor, mask: Tensor) -> Tensor:
    """Return the image inside the mask and background elsewhere."""
    return torch.where(mask, image, -1.0)


def _trainable(net: nn.Module) -> list[nn.Parameter]:
    return [parameter for parameter in net.parameters() if parameter.requires_grad]


def _adam(parameters: list[nn.Parameter], learning_rate: float, weight_decay: float) -> torch.optim.AdamW:
    """Adam, decoupled weight decay; first beta 0.5, for the papers' 0 bursts at the rates that tiny models need."""
    return adamw(parameters, learning_rate, weight_decay, betas=(0.5, 0.99))


def _holding(sequence: Sequence) -> Callable[[CachedCase], bool]:
    return lambda case: sequence in case.sequences


def _lesion_of(sequence: Sequence) -> Callable[[CachedCase], bool]:
    return lambda case: sequence in case.sequences and case.label_kind is not LabelKind.NONE


def _below(limit: int, generator: torch.Generator) -> int:
    return int(torch.randint(limit, (), generator=generator).item())
