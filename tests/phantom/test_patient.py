"""Who the patients are: the BBB status leaves its trace in the latent and nowhere else."""

from __future__ import annotations

from dataclasses import replace
from statistics import NormalDist

import numpy as np
import pytest

from common.metrics.classification import area_under_roc
from common.seeding import numpy_generator
from common.sequences import Sequence
from simulations.phantom.cohort import bbb_ceiling, draw_patients
from simulations.phantom.patient import Patient, draw_latent, draw_patient, draw_status, kept_sequences
from simulations.scenario import Losses, Scenario, load_scenario


@pytest.fixture(scope="module")
def crowd(scenario: Scenario) -> tuple[Patient, ...]:
    return draw_patients(scenario, 120, seed=1)


@pytest.mark.parametrize("separation", [0.0, 1.19, 2.0])
def test_the_latent_s_auc_is_the_normal_law_s(separation: float) -> None:
    rng = numpy_generator(5, "latents")
    status = [draw_status(0.5, "site", number, 5) for number in range(1, 6001)]
    latents = [draw_latent(rng, disrupted, separation) for disrupted in status]
    found = area_under_roc(latents, status, level=0.99)
    expected = NormalDist().cdf(separation / 2**0.5)
    assert found.low < expected < found.high
    assert bbb_ceiling(separation) == pytest.approx(expected, abs=1e-9)


def test_the_default_separation_leaves_a_ceiling_of_eighty_percent() -> None:
    assert bbb_ceiling(1.19) == pytest.approx(0.800, abs=5e-4)


@pytest.mark.parametrize(
    "trait",
    [
        lambda p: p.tumour.grade,
        lambda p: p.tumour.radius_mm,
        lambda p: p.tumour.reach_mm,
        lambda p: p.tumour.centre_mm[0],
        lambda p: p.tumour.flair_variation,
        lambda p: len(p.sequences),
        lambda p: Sequence.T1GD in p.sequences,
        lambda p: p.site == "hospital-a",
        lambda p: p.site == "hospital-c",
    ],
    ids=["grade", "size", "oedema", "side", "texture", "sequences", "gadolinium", "hospital-a", "hospital-c"],
)
def test_status_is_independent_of(trait, crowd: tuple[Patient, ...]) -> None:
    status = np.array([patient.bbb_disrupted for patient in crowd], dtype=float)
    values = np.array([trait(patient) for patient in crowd], dtype=float)
    assert values.std() > 0
    assert abs(np.corrcoef(status, values)[0, 1]) < 2.6 / len(crowd) ** 0.5


def test_status_alone_moves_the_latent_and_moves_nothing_else(scenario: Scenario) -> None:
    sharp = scenario.model_copy(update={"disrupted": 1.0})
    blunt = scenario.model_copy(update={"disrupted": 0.0})
    site = scenario.sites[0]
    open_, closed = (draw_patient(which, site, 3, 9) for which in (sharp, blunt))
    assert (open_.bbb_disrupted, closed.bbb_disrupted) == (True, False)
    assert open_.latent - closed.latent == pytest.approx(1.19)
    assert replace(open_, bbb_disrupted=False, latent=0.0) == replace(closed, latent=0.0)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.5, 1.0])
def test_statuses_come_in_the_share_that_the_scenario_says(share: float) -> None:
    statuses = [draw_status(share, "site", number, 2) for number in range(1, 401)]
    assert np.mean(statuses) == pytest.approx(share, abs=0.04)


def test_patients_do_not_change_when_the_cohort_grows(scenario: Scenario) -> None:
    few, many = draw_patients(scenario, 2, 4), draw_patients(scenario, 3, 4)
    assert set(few) <= set(many)


def test_every_patient_has_a_sequence_and_every_pair_of_contrasts_exists_somewhere(crowd: tuple[Patient, ...]) -> None:
    held = [set(patient.sequences) for patient in crowd]
    assert all(held)
    for pair in ({"T1", "T2"}, {"T1", "FLAIR"}, {"T1", "T1Gd"}, {"T2", "FLAIR"}):
        assert any(pair <= sequences for sequences in held)
    for site in ("hospital-a", "hospital-b", "hospital-c"):
        own = [set(patient.sequences) for patient in crowd if patient.site == site]
        assert any({"T1", "T1Gd", "T2", "FLAIR"} <= sequences for sequences in own)
        assert any(len(sequences) < 4 for sequences in own)


def test_gadolinium_is_rare_at_hospital_c(crowd: tuple[Patient, ...]) -> None:
    own = [patient for patient in crowd if patient.site == "hospital-c"]
    assert np.mean([Sequence.T1GD in patient.sequences for patient in own]) < 0.45


def test_one_sequence_gives_every_patient_one_and_uses_all_four() -> None:
    drawn = [patient.sequences for patient in draw_patients(load_scenario("one-sequence"), 12, 1)]
    assert {len(sequences) for sequences in drawn} == {1}
    assert {sequences[0] for sequences in drawn} == {"T1", "T1Gd", "T2", "FLAIR"}


def test_fixed_patterns_are_dealt_out_evenly() -> None:
    losses = Losses(patterns=(("T1",), ("T1", "T2"), ("FLAIR",)))
    dealt = [kept_sequences(losses, "site", number, 1) for number in range(1, 10)]
    assert sorted(dealt.count(tuple(map(Sequence, pattern))) for pattern in losses.patterns) == [3, 3, 3]
