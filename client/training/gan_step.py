"""One step of the UMMGAT game (npj Precis Onc 9:384) on rows drawn by `client.training.gan_batch`.

Where the target is one of the site's own domains, the encoder reads the style from the reference and the discriminator
sees the reference as real. Where the target belongs to another site, the style is always the mapper's, and that site's
heads stay frozen; what is drawn towards it never updates a discriminator. A local discriminator knows nothing of other
sites' domains: it judges the rows towards the site's own alone, the others are learnt by style and cycle.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from client.data.cache import CachedCase, LabelKind
from client.data.dataset import CaseStore, draw_below
from client.precision import half_precision
from client.privacy.private_step import Move
from client.training.accumulation import Term, minimise, weighted_sum
from client.training.batches import cut, rows_in
from client.training.game_watch import GameWatch
from client.training.gan_batch import GanBatch, GanDraw, draw_of_patient, holding
from client.training.optimisers import adamw
from client.training.trainer import NothingToTrainError
from client.training.update import Counted
from client.training.workplace import Workplace
from common.generative.adversarial import discriminator_loss, diversity_loss, generator_loss, r1_penalty
from common.nets.ummgat import Ummgat
from common.parameters import DOMAIN_PREFIX, SHARED
from common.sequences import Sequence
from common.settings.stages import GeneratorStage
from common.study import Study

Terms = dict[str, Term]


class GanStep:
    """Draws batches, updates discriminator, then generator, encoder and mapper; see the module's text."""

    def __init__(
        self, model: Ummgat, study: Study, site: str, store: CaseStore, device: torch.device, minimum: int = 1
    ) -> None:
        settings = study.stages.generator
        if settings is None:
            raise ValueError("the study has no generator stage")
        self.model, self.store, self.device, self.settings = model.to(device), store, device, settings
        self.images = tuple(domain for domain in model.domains if not domain.lesion)
        held = {sequence for case in store.cases for sequence in case.sequences}
        own = [domain for domain in self.images if domain.site == site and domain.sequence in held]
        self.own = {domain.sequence: model.number(domain) for domain in own}
        self.site = site
        if not self.own:
            raise NothingToTrainError("no case has a sequence of the study")
        self.draw_rows = GanDraw(
            store,
            self.own,
            foreign=tuple(model.number(domain) for domain in self.images if domain.site != site),
            size=settings.batch_size,
            latent_size=model.mapper.latent_size,
            use_pairs=study.data.pairs == "use",
            diverse=settings.diversity_weight > 0,
        )
        self._train_own_heads_alone()
        self.judging = _trainable(model.discriminator)
        drawing = _trainable(model.generator) + _trainable(model.encoder) + _trainable(model.mapper)
        self.optimisers: Mapping[str, torch.optim.Optimizer] = {
            "generator": _adam(drawing, settings.learning_rate, settings),
            "discriminator": _adam(self.judging, settings.discriminator_learning_rate, settings),
        }
        self.judges_foreign = settings.discriminator == "shared"
        self.minimum = minimum
        self._watch: GameWatch | None = None
        self.steps = 0
        self._drawn: tuple[GanBatch, Tensor, Tensor] | None = None

    def _train_own_heads_alone(self) -> None:
        """Freeze the heads of other sites' domains: they are trained where their images are."""
        own = {domain.key for domain in self.model.domains if domain.site == self.site}
        for net in (self.model.encoder, self.model.mapper, self.model.discriminator):
            for key, head in net.out.heads.items():
                head.requires_grad_(key in own)

    @property
    def watch(self) -> GameWatch:
        """What watches the game, from when it is first asked for: with the first step, never in a private stage."""
        if self._watch is None:
            self._watch = GameWatch(self.model, self.store, self.own, self.device, self.minimum)
        return self._watch

    def draw(self, generator: torch.Generator) -> GanBatch:
        """Draw one batch."""
        return self.draw_rows(generator).to(self.device)

    # ---- patient by patient

    def trained_patients(self) -> tuple[str, ...]:
        """Return the patients who hold any of the site's domains; see PatientStep."""
        return tuple(self.store.patients(self._holds))

    def draw_of(self, patient: str, generator: torch.Generator) -> GanBatch:
        """Draw one row of `patient`, in any of the styles; see PatientStep."""
        images = tuple(self.model.number(domain) for domain in self.images)
        rows = draw_of_patient(self.draw_rows, patient, images)(generator)
        chosen = draw_below(rows_in(rows), generator)
        return cut(rows, chosen, chosen + 1).to(self.device)

    def moves(self, number: int) -> tuple[Move, ...]:
        """Return the discriminator's, then that of generator, encoder and mapper; see PatientStep."""
        self.steps = number
        return Move("discriminator", self._weighed(self._judgement)), Move(
            "generator", self._weighed(self._improvement)
        )

    def _weighed(self, terms: Callable[[GanBatch], Terms]) -> Callable[[GanBatch], Tensor]:
        return lambda batch: weighted_sum(terms(batch))

    # ---- one step

    def __call__(self, batch: GanBatch) -> dict[str, float]:
        """Update discriminator and generator on one batch and return the losses, after the last step also the facts
        that tell whether the game goes wrong."""
        watch = self.watch  # which remembers the weights as they are before they move
        self._drawn = None
        losses = self._judge(batch) | self._improve(batch)
        self._drawn = None
        self.steps += 1
        return losses | (watch.facts() if self.steps == self.settings.local_steps else {})

    def _judge(self, batch: GanBatch) -> dict[str, float]:
        """Update the discriminator on the rows of the site's own domains."""
        if not bool(batch.own.any()):
            return {}
        losses = minimise(self._judgement, batch, self.optimisers["discriminator"], _judged)
        return {name: losses[name] for name in ("discriminator", "win_rate")}

    def _improve(self, batch: GanBatch) -> dict[str, float]:
        """Update generator, encoder and mapper."""
        with _frozen(self.judging):
            losses = minimise(self._improvement, batch, self.optimisers["generator"], self._improved)
        return {name: value for name, value in losses.items() if name != "loss"}

    def _drawing(self, batch: GanBatch) -> tuple[Tensor, Tensor]:
        """Return style and drawing of a batch or part, kept until the next: judge and generator share a whole one's."""
        if self._drawn is None or self._drawn[0] is not batch:
            self._drawn = None  # its graph makes room
            with self._autocast():
                style = self._target_style(batch)
                self._drawn = batch, style, self._redraw(batch.source, style, batch.brain)
        return self._drawn[1:]

    def _judgement(self, batch: GanBatch) -> Terms:
        """Return the discriminator's losses, R1 on every `r1_every`-th step."""
        _, drawn = self._drawing(batch)
        if not bool(batch.own.any()):
            return {"discriminator": Term(drawn.new_zeros(())), "win_rate": Term(drawn.new_zeros(()), weight=None)}
        judge, settings = self.model.discriminator, self.settings
        with_r1 = self.steps % settings.r1_every == 0
        real, number = batch.reference[batch.own], batch.target_number[batch.own]
        real.requires_grad_(with_r1)
        real_logits, drawn_logits = judge(real, number), judge(drawn.detach()[batch.own], number)
        wins = ((real_logits.detach() > 0).float() + (drawn_logits.detach() < 0).float()) / 2
        terms = {
            "discriminator": Term(discriminator_loss(real_logits, drawn_logits)),
            "win_rate": Term(wins.mean(), weight=None),
        }
        if with_r1:
            terms["r1"] = Term(r1_penalty(real_logits, real), settings.r1_weight * settings.r1_every)
        return terms

    def _improvement(self, batch: GanBatch) -> Terms:
        """Return the losses of generator, encoder and mapper."""
        settings, model = self.settings, self.model
        style, drawn = self._drawing(batch)
        terms = self._deception(batch, drawn)
        with self._autocast():
            code = model.encoder(drawn, batch.target_number)
        terms["style"] = Term((code - style).abs().mean(), settings.style_weight)
        terms |= self._lesion_style(batch, drawn) | self._paired(batch, drawn) | self._cycle(batch, drawn)
        return terms | self._diversity(batch, drawn)

    def _improved(self, batch: GanBatch) -> dict[str, float]:
        """Return what the means of `_improvement` divide by; rows where it says nothing."""
        weights = self._pair_weights(batch)
        counts = {name: weight[rows].sum() for name, (rows, weight) in weights.items()}
        if not self.judges_foreign:
            counts["adversarial"] = batch.own.sum()
        counts["lesion_style"] = _with_lesions(batch).sum()
        counts["cycle"] = batch.brain[~batch.paired].sum()
        counts["diversity"] = batch.brain[batch.in_drawn_style].sum()
        return {name: float(count) for name, count in counts.items()}

    def _deception(self, batch: GanBatch, drawn: Tensor) -> Terms:
        """Deceive the discriminator in all rows, a local one in those towards the site's own domains."""
        number = batch.target_number
        if not self.judges_foreign:
            if not bool(batch.own.any()):
                return {}
            drawn, number = drawn[batch.own], number[batch.own]
        logits = self.model.discriminator(drawn, number)
        return {"adversarial": Term(generator_loss(logits), self.settings.adversarial_weight)}

    def _target_style(self, batch: GanBatch) -> Tensor:
        """Return codes (B, S): of the reference for the rows `by_picture`, of the mapper elsewhere."""
        style: Tensor = self.model.mapper(batch.latent, batch.target_number)
        rows = batch.by_picture.nonzero().squeeze(1)
        if not len(rows):
            return style
        seen = self.model.encoder(batch.reference[rows], batch.target_number[rows])
        return style.index_put((rows,), seen.to(style.dtype))

    def _lesion_style(self, batch: GanBatch, drawn: Tensor) -> Terms:
        """Compare the codes of the drawn lesion and of the reference's lesion under the twin's head (UMMGAT LAM)."""
        rows = _with_lesions(batch)
        if self.settings.lesion_style_weight == 0 or not bool(rows.any()):
            return {}
        twin = batch.target_number[rows] + len(self.images)
        with self._autocast():
            wanted = self.model.encoder(_only(batch.reference[rows], batch.reference_lesion[rows]), twin)
            code = self.model.encoder(_only(drawn[rows], batch.lesion[rows]), twin)
        return {"lesion_style": Term((code - wanted).abs().mean(), self.settings.lesion_style_weight)}

    def _paired(self, batch: GanBatch, drawn: Tensor) -> Terms:
        """Absolute error to the registered target, lesions weighted, identity rows apart."""
        weights = {"identity": self.settings.identity_weight, "paired": self.settings.paired_weight}
        terms: Terms = {}
        for name, (rows, weight) in self._pair_weights(batch).items():
            if bool(rows.any()):
                error = (drawn[rows] - batch.target[rows]).abs()
                terms[name] = Term((error * weight[rows]).sum() / weight[rows].sum(), weights[name])
        return terms

    def _pair_weights(self, batch: GanBatch) -> dict[str, tuple[Tensor, Tensor]]:
        """Return the rows (B,) of identity and of true pairs, each with the weight of every pixel (B, 1, H, W)."""
        identity = batch.paired & (batch.source_number == batch.target_number)
        weight = batch.brain * (1 + self.settings.paired_lesion_weight * batch.lesion)
        return {"identity": (identity, weight), "paired": (batch.paired & ~identity, weight)}

    def _cycle(self, batch: GanBatch, drawn: Tensor) -> Terms:
        """Redraw the unpaired rows back in their source's own style."""
        rows = ~batch.paired
        if self.settings.cycle_weight == 0 or not bool(rows.any()):
            return {}
        source, brain = batch.source[rows], batch.brain[rows]
        with self._autocast():
            style = self.model.encoder(source, batch.source_number[rows])
            back = self._redraw(drawn[rows], style, brain)
        return {"cycle": Term(((back - source).abs() * brain).sum() / brain.sum(), self.settings.cycle_weight)}

    def _diversity(self, batch: GanBatch, drawn: Tensor) -> Terms:
        """Reward the distance to a drawing of the same rows in a second style of the same domain."""
        if batch.other_latent is None or not bool(batch.in_drawn_style.any()):
            return {}
        rows, weight = batch.in_drawn_style, self.settings.diversity_weight * (1 - self._progress())
        brain = batch.brain[rows]
        with torch.no_grad(), self._autocast():
            style = self.model.mapper(batch.other_latent[rows], batch.target_number[rows])
            other = self._redraw(batch.source[rows], style, brain)
        return {"diversity": Term(diversity_loss(drawn[rows], other, brain), weight)}

    def _progress(self) -> float:
        """Return the share of the stage's steps that are done; the optimiser counts them from round to round."""
        first = next(iter(self.optimisers["generator"].state.values()), None)
        done = 0 if first is None else int(first["step"])
        return min(done / (self.settings.rounds * self.settings.local_steps), 1.0)

    def _redraw(self, image: Tensor, style: Tensor, brain: Tensor) -> Tensor:
        """Draw inside the brain; outside stays background, -1."""
        return torch.where(brain, self.model.generator(image, style).float(), -1.0)

    def _autocast(self) -> torch.autocast:
        return half_precision(self.device)

    # ---- what the federation asks

    def patients(self) -> dict[str, int]:
        """Return how many patients touch each parameter group: all, and those that hold each domain or its lesions."""
        counts = {SHARED: len(self.store.patients(self._holds))}
        for sequence, number in self.own.items():
            domain = self.model.domains[number]
            counts[DOMAIN_PREFIX + domain.key] = len(self.store.patients(holding(sequence)))
            counts[DOMAIN_PREFIX + domain.twin.key] = len(self.store.patients(_lesion_of(sequence)))
        return {group: count for group, count in counts.items() if count}

    def behind(self) -> dict[str, int]:
        """Return the patients behind each loss: for pairs, cycles and lesions those that give such rows, else all."""
        everyone = ("discriminator", "win_rate", "adversarial", "style", "diversity", "identity")
        tumours = {case.patient for case, slices in zip(self.store.cases, self.store.with_tumour, strict=True)
                   if len(slices) and self._holds(case)}  # fmt: skip
        watched = 0 if self._watch is None else self._watch.patients
        return (
            dict.fromkeys(everyone, len(self.store.patients(self._holds)))
            | dict.fromkeys(("output_spread", "style_spread", "style_drift"), watched)
            | {
                "lesion_style": len(tumours),
                "paired": len(self.store.patients(lambda case: self.draw_rows.use_pairs and len(self._held(case)) > 1)),
                "cycle": len(self.store.patients(self._can_be_unpaired)),
            }
        )

    def _held(self, case: CachedCase) -> list[Sequence]:
        """Return which of the site's domains a case holds."""
        return [sequence for sequence in case.sequences if sequence in self.own]

    def _holds(self, case: CachedCase) -> bool:
        return bool(self._held(case))

    def _can_be_unpaired(self, case: CachedCase) -> bool:
        """Whether a row of this case can have a target that nothing is registered to."""
        held, draw = self._held(case), self.draw_rows
        other = len(held) < len(self.own) or (not draw.use_pairs and len(self.own) > 1)
        return bool(held) and (bool(draw.foreign) or other)

    @torch.inference_mode()
    def evaluate(self, store: CaseStore) -> dict[str, Counted]:
        """Mean absolute error (grey levels of 255, in the brain) over registered pairs of `store`, and of copying."""
        drawn_errors: list[float] = []
        copy_errors: list[float] = []
        measured: set[str] = set()
        for index, case in enumerate(store.cases):
            held = self._held(case)
            usable = store.usable[index]
            if len(held) < 2 or not len(usable):
                continue
            measured.add(case.patient)
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
            "mae": Counted(sum(drawn_errors) / len(drawn_errors), len(measured)),
            "mae_copy": Counted(sum(copy_errors) / len(copy_errors), len(measured)),
        }


def build_step(model: nn.Module, place: Workplace) -> GanStep:
    """Return the generator stage's step at one site. Raises NothingToTrainError where no case fits."""
    if not isinstance(model, Ummgat) or model.domains != place.domains:
        raise ValueError("the generator stage trains a Ummgat over the plan's domains")
    return GanStep(model, place.study, place.site_name, place.store, place.device, place.minimum)


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


def _judged(batch: GanBatch) -> dict[str, float]:
    """Return what the discriminator's means divide by: the rows of the site's own domains."""
    return dict.fromkeys(("discriminator", "r1", "win_rate"), float(batch.own.sum()))


def _with_lesions(batch: GanBatch) -> Tensor:
    """Return the rows (B,) whose lesion can be compared with the reference's."""
    return batch.own & batch.lesion.flatten(1).any(1) & batch.reference_lesion.flatten(1).any(1)


def _only(image: Tensor, mask: Tensor) -> Tensor:
    """Return the image inside the mask and background elsewhere."""
    return torch.where(mask, image, -1.0)


def _trainable(net: nn.Module) -> list[nn.Parameter]:
    return [parameter for parameter in net.parameters() if parameter.requires_grad]


def _adam(parameters: list[nn.Parameter], learning_rate: float, settings: GeneratorStage) -> torch.optim.AdamW:
    """Adam, weight decay decoupled; the papers' second beta."""
    return adamw(parameters, learning_rate, settings.weight_decay, betas=(settings.adam_beta_1, 0.99))


def _lesion_of(sequence: Sequence) -> Callable[[CachedCase], bool]:
    return lambda case: sequence in case.sequences and case.label_kind is not LabelKind.NONE
