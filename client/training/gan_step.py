"""One step of the UMMGAT game (npj Precis Onc 9:384) on rows drawn by `client.training.game.batch`.

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

from client.data.dataset import CaseStore, draw_below
from client.privacy.private_step import Move
from client.training.accumulation import Term, minimise, weighted_sum
from client.training.batches import cut, rows_in
from client.training.game.batch import GanBatch, GanDraw, draw_of_patient
from client.training.game.drawer import Drawer
from client.training.game.drawing import Drawing
from client.training.game.judge import Judge
from client.training.game.pair_errors import pair_errors
from client.training.game.patients import GanPatients
from client.training.game.watch import GameWatch
from client.training.optimisers import adamw
from client.training.trainer import NothingToTrainError
from client.training.update import Counted
from client.training.workplace import Workplace
from common.nets.ummgat import Ummgat
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
        images = tuple(domain for domain in model.domains if not domain.lesion)
        held = {sequence for case in store.cases for sequence in case.sequences}
        self.domains = {each.sequence: each for each in images if each.site == site and each.sequence in held}
        if not self.domains:
            raise NothingToTrainError("no case has a sequence of the study")
        self.own = {sequence: model.number(domain) for sequence, domain in self.domains.items()}
        self.numbers = tuple(model.number(domain) for domain in images)
        self.draw_rows = GanDraw(
            store,
            self.own,
            foreign=tuple(model.number(domain) for domain in images if domain.site != site),
            size=settings.batch_size,
            latent_size=model.mapper.latent_size,
            use_pairs=study.data.pairs == "use",
            diverse=settings.diversity_weight > 0,
        )
        self.drawing = Drawing(model, device)
        self.judge = Judge(self.drawing, settings)
        self.drawer = Drawer(self.drawing, settings, image_domains=len(images))
        self.behind_it = GanPatients(store, self.domains, self.draw_rows.use_pairs, bool(self.draw_rows.foreign))
        _train_heads_of(model, site)
        self.judging = _trainable(model.discriminator)
        self.optimisers = _optimisers(model, settings)
        self.minimum = minimum
        self._watch: GameWatch | None = None
        self.steps = 0

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
        return self.behind_it.all()

    def draw_of(self, patient: str, generator: torch.Generator) -> GanBatch:
        """Draw one row of `patient`, in any of the styles; see PatientStep."""
        rows = draw_of_patient(self.draw_rows, patient, self.numbers)(generator)
        chosen = draw_below(rows_in(rows), generator)
        return cut(rows, chosen, chosen + 1).to(self.device)

    def moves(self, number: int) -> tuple[Move, ...]:
        """Return the discriminator's, then that of generator, encoder and mapper; see PatientStep."""
        self.steps = number
        return Move("discriminator", _weighed(self._judgement)), Move("generator", _weighed(self._improvement))

    # ---- one step

    def __call__(self, batch: GanBatch) -> dict[str, float]:
        """Update discriminator and generator on one batch and return the losses, after the last step also the facts
        that tell whether the game goes wrong."""
        watch = self.watch  # which remembers the weights as they are before they move
        self.drawing.forget()
        losses = self.judge_batch(batch) | self.improve_on(batch)
        self.drawing.forget()
        self.steps += 1
        return losses | (watch.facts() if self.steps == self.settings.local_steps else {})

    def judge_batch(self, batch: GanBatch) -> dict[str, float]:
        """Update the discriminator on the rows of the site's own domains; where there is none, not at all."""
        if not bool(batch.own.any()):
            return {}
        losses = minimise(self._judgement, batch, self.optimisers["discriminator"], self.judge.masses)
        return {name: losses[name] for name in ("discriminator", "win_rate")}

    def improve_on(self, batch: GanBatch) -> dict[str, float]:
        """Update generator, encoder and mapper."""
        with _frozen(self.judging):
            losses = minimise(self._improvement, batch, self.optimisers["generator"], self.drawer.masses)
        return {name: value for name, value in losses.items() if name != "loss"}

    def _judgement(self, batch: GanBatch) -> Terms:
        """Return the discriminator's losses, R1 on every `r1_every`-th step."""
        return self.judge.terms(batch, with_r1=self.steps % self.settings.r1_every == 0)

    def _improvement(self, batch: GanBatch) -> Terms:
        """Return the losses of generator, encoder and mapper."""
        return self.drawer.terms(batch, self.progress)

    @property
    def progress(self) -> float:
        """The share of the stage's steps that are done; the optimiser counts them from round to round."""
        first = next(iter(self.optimisers["generator"].state.values()), None)
        done = 0 if first is None else int(first["step"])
        return min(done / (self.settings.rounds * self.settings.local_steps), 1.0)

    # ---- what the federation asks

    def patients(self) -> dict[str, int]:
        """Return how many patients touch each parameter group: all, and those that hold each domain or its lesions."""
        return self.behind_it.of_groups()

    def behind(self) -> dict[str, int]:
        """Return the patients behind each loss: for pairs, cycles and lesions those that give such rows, else all."""
        return self.behind_it.behind_losses(0 if self._watch is None else self._watch.patients)

    def evaluate(self, store: CaseStore) -> dict[str, Counted]:
        """Mean absolute error (grey levels of 255, in the brain) over registered pairs of `store`, and of copying."""
        return pair_errors(self.model, self.domains, store, self.device)


def build_step(model: nn.Module, place: Workplace) -> GanStep:
    """Return the generator stage's step at one site. Raises NothingToTrainError where no case fits."""
    if not isinstance(model, Ummgat) or model.domains != place.domains:
        raise ValueError("the generator stage trains a Ummgat over the plan's domains")
    return GanStep(model, place.study, place.site_name, place.store, place.device, place.minimum)


def _train_heads_of(model: Ummgat, site: str) -> None:
    """Freeze the heads of other sites' domains: they are trained where their images are."""
    own = {domain.key for domain in model.domains if domain.site == site}
    for net in (model.encoder, model.mapper, model.discriminator):
        for key, head in net.out.heads.items():
            head.requires_grad_(key in own)


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


def _weighed(terms: Callable[[GanBatch], Terms]) -> Callable[[GanBatch], Tensor]:
    return lambda batch: weighted_sum(terms(batch))


def _trainable(net: nn.Module) -> list[nn.Parameter]:
    return [parameter for parameter in net.parameters() if parameter.requires_grad]


def _optimisers(model: Ummgat, settings: GeneratorStage) -> Mapping[str, torch.optim.Optimizer]:
    """Return the two players' Adam, weight decay decoupled; the papers' second beta."""
    drawing = _trainable(model.generator) + _trainable(model.encoder) + _trainable(model.mapper)
    players = {
        "generator": (drawing, settings.learning_rate),
        "discriminator": (_trainable(model.discriminator), settings.discriminator_learning_rate),
    }
    betas = (settings.adam_beta_1, 0.99)
    return {name: adamw(weights, rate, settings.weight_decay, betas=betas) for name, (weights, rate) in players.items()}
