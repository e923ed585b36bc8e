"""What the images know of the blood–brain barrier, and that one seed draws one patient."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from common.metrics.classification import Auc, area_under_roc
from common.sequences import NEEDS_GADOLINIUM, Sequence
from simulations.phantom.cohort import draw_patients
from simulations.phantom.patient import Patient
from simulations.phantom.render import DRAWN, render
from simulations.scenario import Scenario

CONTRAST_FREE = (Sequence.T1, Sequence.FLAIR)


@pytest.mark.parametrize("with_skull", [False, True])
def test_without_separation_both_statuses_give_the_same_bits_but_for_gadolinium(
    scenario: Scenario, with_skull: bool
) -> None:
    blind = scenario.model_copy(update={"separation": 0.0})
    for site in blind.sites:
        patient = draw_patients(blind, 1, 6)[blind.sites.index(site)]
        open_, closed = (
            render(replace(patient, bbb_disrupted=status), site.scanner, spacing_mm=4.0, with_skull=with_skull)
            for status in (True, False)
        )
        for sequence in DRAWN:
            same = np.array_equal(open_.volumes[sequence], closed.volumes[sequence])
            assert same == (sequence not in NEEDS_GADOLINIUM), sequence
        np.testing.assert_array_equal(open_.brain, closed.brain)
        np.testing.assert_array_equal(open_.labels > 0, closed.labels > 0)


def test_one_seed_draws_the_same_bits_and_another_does_not(scenario: Scenario, patients: tuple[Patient, ...]) -> None:
    scanner = scenario.sites[0].scanner
    first, again = (render(patients[0], scanner, spacing_mm=4.0).volumes for _ in range(2))
    for sequence in DRAWN:
        np.testing.assert_array_equal(first[sequence], again[sequence])
    other = render(replace(patients[0], seed=99), scanner, (Sequence.T1,), 4.0).volumes
    assert not np.array_equal(first[Sequence.T1], other[Sequence.T1])


def test_a_sequence_does_not_depend_on_which_others_are_drawn(
    scenario: Scenario, patients: tuple[Patient, ...]
) -> None:
    scanner = scenario.sites[0].scanner
    alone = render(patients[0], scanner, (Sequence.FLAIR,), 4.0).volumes
    together = render(patients[0], scanner, spacing_mm=4.0).volumes
    np.testing.assert_array_equal(alone[Sequence.FLAIR], together[Sequence.FLAIR])


def test_a_disrupted_barrier_shines_on_t1gd(scenario: Scenario, patients: tuple[Patient, ...]) -> None:
    scanner = scenario.sites[0].scanner
    open_, closed = (
        render(replace(patients[0], bbb_disrupted=status), scanner, (Sequence.T1GD,), 4.0) for status in (True, False)
    )
    rim = open_.labels == 4
    assert open_.volumes[Sequence.T1GD][rim].mean() > 1.5 * closed.volumes[Sequence.T1GD][rim].mean()


def test_maps_hold_physical_units(scenario: Scenario, patients: tuple[Patient, ...]) -> None:
    maps = (Sequence.T1MAP, Sequence.ADC, Sequence.CBV)
    images = render(patients[0], scenario.sites[0].scanner, maps, 2.0)
    normal = images.brain & (images.labels == 0)
    centre = {s: np.median(images.volumes[s][normal]) * images.scale[s] for s in maps}
    assert 800 < centre[Sequence.T1MAP] < 1700
    assert 700 < centre[Sequence.ADC] < 1100
    assert 1.0 < centre[Sequence.CBV] < 2.5


def test_each_scanner_draws_another_picture(scenario: Scenario, patients: tuple[Patient, ...]) -> None:
    """Dark over bright tissue of one patient's T1 differs between any two hospitals."""
    ratios = []
    for site in scenario.sites:
        images = render(patients[0], site.scanner, (Sequence.T1,), 4.0)
        inside = images.volumes[Sequence.T1][images.brain]
        ratios.append(np.percentile(inside, 25) / np.percentile(inside, 90))
    assert min(abs(a - b) for i, a in enumerate(ratios) for b in ratios[:i]) > 0.03


def test_stored_flair_varies_in_lesions_as_much_as_in_real_patients(scenario: Scenario) -> None:
    for patient in draw_patients(scenario, 1, 12):
        images = render(patient, scenario.site(patient.site).scanner, (Sequence.FLAIR,), 2.0)
        inside = images.volumes[Sequence.FLAIR][images.labels > 0].astype(float)
        assert 0.12 <= inside.std() / inside.mean() <= 0.28, patient.case


def features(patient: Patient, scenario: Scenario) -> list[float]:
    """Metadata, and the tumour's statistics in T1 and FLAIR relative to normal brain."""
    images = render(patient, scenario.site(patient.site).scanner, CONTRAST_FREE, 4.0)
    tumour, core = images.labels > 0, (images.labels == 1) | (images.labels == 4)
    row = [patient.tumour.grade, tumour.sum(), core.sum(), len(patient.sequences), *patient.tumour.centre_mm]
    row += [patient.site == site.name for site in scenario.sites]
    for sequence in CONTRAST_FREE:
        volume = images.volumes[sequence] / np.median(images.volumes[sequence][images.brain & ~tumour])
        for part in (tumour, core):
            row += [volume[part].mean(), volume[part].std(), *np.percentile(volume[part], [10, 90])]
    return [float(value) for value in row]


def judged(scenario: Scenario, separation: float, patients: int, level: float = 0.95) -> Auc:
    """AUC over two cohorts drawn apart, each scored by a classifier that saw the other alone.

    Shuffled folds of one cohort would not do: under the null their scores depend on each other, which widens the
    spread of the AUC well beyond DeLong's interval.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    changed = scenario.model_copy(update={"separation": separation})
    cohorts = [draw_patients(changed, patients, seed) for seed in (21, 22)]
    rows = [np.array([features(patient, changed) for patient in cohort]) for cohort in cohorts]
    status = [np.array([patient.bbb_disrupted for patient in cohort]) for cohort in cohorts]
    scores: list[float] = []
    for seen, unseen in ((0, 1), (1, 0)):
        model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=1000)).fit(rows[seen], status[seen])
        scores += model.predict_proba(rows[unseen])[:, 1].tolist()
    return area_under_roc(scores, [*status[1].tolist(), *status[0].tolist()], level)


def test_with_much_separation_features_and_metadata_tell_a_lot(scenario: Scenario) -> None:
    seeing = judged(scenario, 4.0, 6)
    assert seeing.low > 0.75


@pytest.mark.slow
def test_without_separation_a_large_cohort_tells_nothing(scenario: Scenario) -> None:
    blind = judged(scenario, 0.0, 100, level=0.99)
    assert blind.low < 0.5 < blind.high
    assert blind.high - blind.low < 0.15


@pytest.mark.slow
def test_features_stay_below_the_ceiling_and_come_near_it(scenario: Scenario) -> None:
    found = judged(scenario, 1.19, 100)
    assert found.value > 0.62
    assert found.low < 0.80
