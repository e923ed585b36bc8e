"""Each family of synthesiser, and the identifier behind one, over-fits two phantom patients: minutes, hence slow."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch

from client.data.cache import CachedCase
from client.data.dataset import CaseStore
from client.data.preprocessing import PrepareSettings
from client.inference.drawing_plan import plan_of
from client.inference.identify import identify_volume
from client.inference.synthesise import consistency, hypotheses_volume
from client.training.filled_inputs import enhancing_label
from client.training.tasks import step_builder
from client.training.trainer import draw_batches, fit, rate_of
from client.training.workplace import Workplace
from common.metrics.fidelity import mean_absolute_error, to_greys
from common.nets.stage_models import build_model
from common.sequences import STRUCTURAL, Sequence
from common.settings.stages import (
    GeneratorStage,
    IdentifierStage,
    SegmenterStage,
    Stage,
    Stages,
    SynthesiserStage,
)
from common.study import Grid, Study
from simulations.comparison.truth import read_truth

STEPS = 150
GRID = Grid(spacing_mm=(4.8, 4.8, 6.0), shape=(32, 48))


@pytest.fixture(scope="module")
def two_patients(tiny_cohort, tmp_path_factory) -> list[CachedCase]:
    """One phantom with a disrupted barrier and one with an intact one, all sequences."""
    truth, site = read_truth(tiny_cohort.sites.parent), "hospital-a"
    names = sorted(folder.name for folder in (tiny_cohort.truth / site).iterdir() if folder.is_dir())
    settings = PrepareSettings(grid=GRID, n4=False)
    cases, problems = truth.prepare(site, names, STRUCTURAL, settings, tmp_path_factory.mktemp("truth"), 1)
    assert not problems
    return [next(case for case in cases.values() if enhancing_label(case) == label) for label in (1, 0)]


@dataclass(frozen=True)
class Errors:
    """Mean absolute errors of one patient, grey levels of 255: drawn under its own label, and T1 in its place."""

    brain: float
    core: float
    copied_brain: float
    copied_core: float


class BrightTumour(torch.nn.Module):
    """A segmenter that sees tumour where FLAIR is bright."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.where(x[:, 3:] > 0.4, 5.0, -5.0).expand(-1, 3, -1, -1)


def study_of(**settings: Any) -> Study:
    given = {"rounds": 1, "local_steps": STEPS, "learning_rate": 0.002, "learning_rate_decay": "cosine"}
    stages = Stages(
        generator=GeneratorStage(),
        synthesiser=SynthesiserStage(**given, **settings),
        segmenter=SegmenterStage(),
        identifier=IdentifierStage(**given, batch_size=16, validation_fraction=0.0),
    )
    return Study(name="two", sites=("a",), reference_site="a", grid=GRID, stages=stages)


def over_fit(stage: Stage, study: Study, cases: list[CachedCase], **frozen: torch.nn.Module) -> Any:
    """Train a stage's model on the cases, and return its step; `frozen` are the models of earlier stages."""
    model = build_model(stage, study, (), torch.Generator().manual_seed(1))
    earlier = {Stage(name): each for name, each in frozen.items()}
    place = Workplace(study, (), "a", CaseStore(cases, STRUCTURAL), earlier, torch.device("cpu"))
    step = step_builder(stage)(model, place)
    batches = draw_batches(step, STEPS, torch.Generator().manual_seed(2))
    fit(step, batches, lambda number, losses: None, rate_of(study.stages.of(stage), 1))
    model.eval()
    return step


def errors_of(case: CachedCase, model: Any, stage: SynthesiserStage) -> Errors:
    plan = plan_of(stage)
    condition = np.stack([case.slices(sequence) for sequence in plan.conditions])
    drawn = hypotheses_volume(model, plan, condition, 1, case.brain())
    own = drawn.enhancing if enhancing_label(case) else drawn.non_enhancing
    true, t1 = (to_greys(case.slices(sequence)) for sequence in (Sequence.T1GD, Sequence.T1))
    masks = case.brain() > 0, np.isin(case.labels(), (1, 4))
    found = [mean_absolute_error(picture, true, mask) for picture in (to_greys(own), t1) for mask in masks]
    return Errors(*(value for value in found if value is not None))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("settings", "most"),
    [
        ({"synthesiser": "diffusion"}, 8.0),
        ({"synthesiser": "flow", "solver": "midpoint", "sampling_steps": 5, "samples": 6}, 9.5),
        ({"synthesiser": "e2e"}, 8.0),
        ({"synthesiser": "e2e", "target": "difference", "slices": 3, "conditions": (Sequence.T1, Sequence.T2)}, 8.0),
    ],
    ids=lambda value: " ".join(map(str, value.values())) if isinstance(value, dict) else f"{value}",
)
def test_two_patients_are_learnt_by_heart(two_patients, generator_model, settings, most) -> None:
    """Mean absolute error in the brain, grey levels of 255; copying T1 leaves 10.5 and 9.5, and 76 in the core."""
    study = study_of(**settings)
    model = over_fit(Stage.SYNTHESISER, study, two_patients, generator=generator_model).model
    disrupted, intact = (errors_of(case, model, study.stages.synthesiser) for case in two_patients)
    assert disrupted.brain < min(most, disrupted.copied_brain)
    assert intact.brain < min(most, intact.copied_brain)
    assert disrupted.core < disrupted.copied_core / 2


@pytest.mark.slow
def test_the_barriers_of_two_patients_are_learnt_by_heart(two_patients, generator_model) -> None:
    """Cross-entropy of "is this hypothesis the true one?"; knowing nothing is 0.69."""
    study = study_of(synthesiser="e2e")
    synthesiser = over_fit(Stage.SYNTHESISER, study, two_patients, generator=generator_model).model
    earlier = {"generator": generator_model, "synthesiser": synthesiser, "segmenter": BrightTumour()}
    step = over_fit(Stage.IDENTIFIER, study, two_patients, **earlier)
    assert step.evaluate(step.store)["loss"].value < 0.1
    for index, case in enumerate(two_patients):
        t1, flair, enhancing, non_enhancing = step.windows[index].read()
        plus, minus = (consistency(step.model, t1, flair, drawn) for drawn in (enhancing, non_enhancing))
        found = identify_volume(plus, minus)
        assert found.status == ("disrupted" if enhancing_label(case) else "intact")
