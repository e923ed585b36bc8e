"""What the trained synthesiser must have learnt, on forty phantoms that it has not seen."""

from statistics import median

import numpy as np
import pytest

from client.inference.drawing_plan import plan_of
from client.inference.synthesise import hypotheses_volume
from common.metrics.proportion import binomial_interval
from common.settings.stages import Stage
from simulations.ablations.drawings import draw_all, error_correlation, flips
from simulations.ablations.training import train_stage

from .conftest import HELD_OUT, study_of

SPREAD = 'synthesiser = "flow"\nsolver = "midpoint"\nsampling_steps = 2\nsamples = 50'
SPREAD_PATIENTS = 6

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


def drawings(hospital, more: str, patients: int):
    study = study_of(more)
    synthesiser = train_stage(
        study,
        Stage.SYNTHESISER,
        hospital.phantoms,
        {Stage.GENERATOR: hospital.generator},
        hospital.folder,
        lambda *_: None,
    ).model(study, hospital.phantoms)
    plan = plan_of(study.stages.synthesiser)

    def draw(subject):
        condition = np.stack([subject.truth.slices(sequence) for sequence in plan.conditions])
        return hypotheses_volume(synthesiser, plan, condition, study.seed, subject.truth.brain())

    return draw_all(hospital.phantoms.subjects[:patients], draw)


def test_flipping_the_label_flips_the_drawn_enhancement(hospital):
    drawn = drawings(hospital, "", HELD_OUT)
    flipped = sum(map(flips, drawn))
    low, high = binomial_interval(flipped, len(drawn))
    print(f"enhancement flips in {flipped} of {len(drawn)} tumours, exact 95 % interval {low:.2f}-{high:.2f}")  # noqa: T201
    assert len(drawn) == HELD_OUT
    assert flipped / len(drawn) >= 0.95


def test_the_spread_of_the_samples_tells_where_the_error_is(hospital):
    drawn = drawings(hospital, SPREAD, SPREAD_PATIENTS)
    found = [error_correlation(one) for one in drawn]
    print(f"r of SD and error, flow, {len(found)} patients: {', '.join(f'{r:.2f}' for r in found)}")  # noqa: T201
    assert median(found) >= 0.5
