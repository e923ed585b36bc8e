"""What the released models draw of one slice of each patient, in a sequence of which the patient has the real one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor

from client.assessment.examination import Examination
from client.assessment.register import only
from client.data.cache import CachedCase
from client.data.dataset import CaseStore, SliceBatch
from client.inference.drawing_plan import plan_of
from client.inference.fill import pick_source
from client.precision import half_precision
from client.training.conditions import conditions_of
from client.training.filled_inputs import enhancing_label, open_filler, stack_of
from client.training.fixed_slices import fixed_slices
from common.generative.hypotheses import Synthesiser, draw_hypotheses
from common.nets.map_synthesiser import MapSynthesiser
from common.nets.ummgat import Ummgat
from common.seeding import torch_generator
from common.sequences import Sequence
from common.settings.stages import Stage

AT_ONCE = 16


@dataclass(frozen=True)
class Drawing:
    """One slice of a patient as drawn and as it is, (H, W) in [-1, 1] on the CPU, and where the brain is, (H, W) bool.

    Outside the brain nothing is hidden of what the model drew.
    """

    patient: str
    sequence: Sequence
    drawn: Tensor
    real: Tensor
    brain: Tensor

    @property
    def error(self) -> float:
        """Mean absolute error inside the brain."""
        return float((self.drawn - self.real).abs()[self.brain].mean())


Drawer = Callable[[CaseStore], Iterator[Drawing]]


@torch.no_grad()
def draw_patients(exam: Examination, stage: Stage, store: CaseStore) -> list[Drawing]:
    """Return what the released model of a drawing `stage` makes of each patient of `store` that it can be held against.

    Every patient's slice and noise are the same on every run, and no others for members than for strangers.
    """
    draw = {Stage.GENERATOR: _translate, Stage.SYNTHESISER: _synthesise, Stage.MAPS: _draw_map}[stage]
    patients = sorted(store.patients())
    parts = (only(store, tuple(patients[at : at + AT_ONCE])) for at in range(0, len(patients), AT_ONCE))
    return [drawing for part in parts for drawing in draw(exam, part)]


def _translate(exam: Examination, store: CaseStore) -> Iterator[Drawing]:
    """Draw each sequence of the site's own that a patient holds from the nearest other one, in its typical style."""
    model = cast(Ummgat, exam.models[Stage.GENERATOR])
    own = {domain.sequence: domain for domain in model.domains if domain.site == exam.site and not domain.lesion}
    slices = fixed_slices(store, lambda case: len(set(own).intersection(case.sequences)) > 1, limit=AT_ONCE)
    if slices is None:
        return
    for target, domain in own.items():
        sources = [_source_of(store.cases[index], target, own) for index in slices.case_index.tolist()]
        rows = [row for row, source in enumerate(sources) if source is not None]
        if rows:
            source = torch.stack([slices.images[cast(Sequence, sources[row])][row] for row in rows])
            number = torch.full((len(rows),), model.domains.index(domain))
            with half_precision(exam.device):
                drawn = model.translate(source.to(exam.device), number.to(exam.device))
            yield from _drawings(store, slices, rows, target, drawn)


def _source_of(case: CachedCase, target: Sequence, own: Iterable[Sequence]) -> Sequence | None:
    """Return from which sequence of the site's own the target is drawn; None where it, or every other, is missing."""
    held = set(own).intersection(case.sequences)
    return pick_source(target, held - {target}) if target in held else None


def _synthesise(exam: Examination, store: CaseStore) -> Iterator[Drawing]:
    """Draw T1Gd under the patient's own label, from one noise."""
    settings = exam.study.stages.synthesiser
    assert settings is not None  # noqa: S101
    filler, plan = open_filler(exam.place(exam.training)), plan_of(settings)

    def fits(case: CachedCase) -> bool:
        shown = frozenset(sequence for sequence in plan.conditions if filler.can_show(case, sequence))
        told = not settings.use_label or enhancing_label(case) is not None
        return Sequence.T1GD in case.sequences and told and plan.can_draw(shown)

    slices = fixed_slices(store, fits, limit=AT_ONCE)
    if slices is None:
        return
    conditions = conditions_of(filler, store, slices, plan.conditions, plan.slices)
    images, rows = conditions.images.to(exam.device), list(range(len(conditions.images)))
    noise = torch.randn(slices.brain.shape[1:], generator=torch_generator(exam.study.seed, "attacks", "noise"))
    base = None if plan.base is None else images[:, plan.base, None]
    with half_precision(exam.device):
        both = draw_hypotheses(
            cast(Synthesiser, exam.models[Stage.SYNTHESISER]),
            images,
            conditions.availability.to(exam.device),
            noise.expand(slices.brain.shape).to(exam.device),
            plan.sampler,
            base=base,
        )
    enhances = torch.tensor([enhancing_label(store.cases[index]) == 1 for index in slices.case_index.tolist()])
    drawn = torch.where(enhances.to(exam.device)[:, None, None, None], both.enhancing, both.non_enhancing)
    yield from _drawings(store, slices, rows, Sequence.T1GD, drawn)


def _draw_map(exam: Examination, store: CaseStore) -> Iterator[Drawing]:
    """Draw the map from all that the patient holds of its inputs."""
    settings, model = exam.study.stages.maps, cast(MapSynthesiser, exam.models[Stage.MAPS])
    assert settings is not None  # noqa: S101
    enough = all if settings.subsets == "all-inputs" else any

    def fits(case: CachedCase) -> bool:
        return settings.target in case.sequences and enough(each in case.sequences for each in settings.inputs)

    slices = fixed_slices(store, fits, limit=AT_ONCE)
    if slices is None:
        return
    held = torch.stack([slices.present[sequence] for sequence in settings.inputs], dim=1)
    with half_precision(exam.device):
        drawn = model(stack_of(slices, settings.inputs).to(exam.device), held.to(exam.device))
    yield from _drawings(store, slices, list(range(len(held))), settings.target, drawn)


def _drawings(
    store: CaseStore, slices: SliceBatch, rows: list[int], sequence: Sequence, drawn: Tensor
) -> Iterator[Drawing]:
    """Yield the drawings (n, 1, H, W) of these rows of the slices beside the real pictures."""
    for row, picture in zip(rows, drawn.float().clamp(-1, 1).cpu(), strict=True):
        patient = store.cases[int(slices.case_index[row])].patient
        yield Drawing(patient, sequence, picture[0], slices.images[sequence][row, 0], slices.brain[row, 0])
