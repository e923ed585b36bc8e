"""Drawn maps against the truth: figures that are known beforehand, subset by subset."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from common.sequences import STRUCTURAL, Sequence
from common.settings.stages import MapsStage
from simulations.baselines import Baselines, ToneCurve
from simulations.comparison.map_tables import Contest, contest_table, interval, subset_table
from simulations.comparison.maps import compare_maps, measure_map, measure_subset, subsets_of

T1, T1GD, T2, FLAIR = STRUCTURAL
SETTINGS = MapsStage(target=T2, inputs=(T1, FLAIR))
GREYS = {T1: 100.0, T2: 180.0, FLAIR: 140.0}


class Shifting:
    """Draws T2 perfectly from T1 by shifting its greys; from FLAIR alone 18 grey levels, a tenth, too dark."""

    def __call__(self, images: torch.Tensor, available: torch.Tensor) -> torch.Tensor:
        from_t1 = images[:, :1] + (GREYS[T2] - GREYS[T1]) / 127.5
        from_flair = images[:, 1:] + (GREYS[T2] - GREYS[FLAIR] - 18) / 127.5
        return torch.where(available[:, :1, None, None], from_t1, from_flair)


@pytest.fixture
def subjects(toy):
    return [toy.subject("a", "p1", disrupted=False), toy.subject("b", "p2", disrupted=False)]


def test_a_perfect_map_errs_nowhere(subjects):
    found = measure_subset(subjects, Shifting(), SETTINGS, (T1,))
    assert set(found) == {("a", "p1"), ("b", "p2")}
    for one in found.values():
        assert one.brain.mae == pytest.approx(0, abs=0.01)
        assert one.brain.ssim == pytest.approx(1, abs=1e-4)
        assert one.brain.r == pytest.approx(1, abs=1e-4)
        assert one.bias == pytest.approx(0, abs=1e-3)


def test_a_map_that_is_a_tenth_too_dark_has_that_bias_and_full_correlation(subjects):
    one = measure_subset(subjects, Shifting(), SETTINGS, (FLAIR,))["a", "p1"]
    assert one.brain.mae == pytest.approx(18, abs=0.1)
    assert one.core.mae == pytest.approx(18, abs=0.1)
    assert one.core.r == pytest.approx(1, abs=1e-4)
    core = subjects[0].core[list(subjects[0].sampled)]
    true = (subjects[0].truth.slices(T2)[list(subjects[0].sampled)][core].mean() + 1) * 127.5
    assert one.bias == pytest.approx(-18 / true, abs=1e-3)


def test_a_constant_correlates_with_nothing(subjects):
    shape = subjects[0].brain[list(subjects[0].sampled)].shape
    assert measure_map(subjects[0], T2, np.full(shape, 180.0)).brain.r is None


def test_who_lacks_an_input_or_the_target_is_not_measured(toy):
    subjects = [toy.subject("a", "p1", sequences=(T1, FLAIR)), toy.subject("a", "p2", sequences=(T1, T2))]
    assert set(measure_subset(subjects, Shifting(), SETTINGS, (T1,))) == {("a", "p2")}
    assert measure_subset(subjects, Shifting(), SETTINGS, (T1, FLAIR)) == {}


def test_every_subset_stands_beside_constant_and_tone_curves(subjects):
    line = ToneCurve(np.clip(np.arange(256.0) + 80, 0, 255))
    fitted = Baselines(constant={T2: 180.0}, best_copy={}, curves={(T1, T2): line})
    rows = {(row.method, row.inputs): row for row in compare_maps(subjects, Shifting(), SETTINGS, fitted, lambda: None)}
    assert set(rows) == {
        *(("model", subset) for subset in ((T1,), (FLAIR,), (T1, FLAIR))),
        *(("constant", ()), ("tone curve", (T1,))),
    }
    assert {row.patients for row in rows.values()} == {2}
    assert rows["tone curve", (T1,)].brain.mae == pytest.approx(0, abs=0.1)
    assert rows["constant", ()].brain.mae > 5
    assert rows["model", (FLAIR,)].scatter == pytest.approx(0, abs=1e-6)
    assert "| tone curve | T1 | 2 |" in subset_table(rows.values())


def test_five_inputs_have_31_subsets_and_a_model_of_all_inputs_has_one():
    assert len(set(subsets_of(MapsStage()))) == 31
    assert subsets_of(MapsStage(subsets="all-inputs")) == (MapsStage().inputs,)
    six = MapsStage(inputs=(*MapsStage().inputs, Sequence.SWI))
    assert len(subsets_of(six)) == 7


def test_an_interval_is_students_over_patients():
    assert interval([1.0, 2.0, 3.0], 2) == "2.00 (-0.48 … 4.48)"  # 4.303 · 1 / √3
    assert interval([1.0, None], 1) == "1.0"
    assert interval([None], 1) == "–"


def test_two_models_are_compared_patient_by_patient(subjects):
    perfect, dark = (measure_subset(subjects, Shifting(), SETTINGS, (one,)) for one in (T1, FLAIR))
    lines = contest_table([Contest((T1,), single=dark, general=perfect, taught_single=3, taught_general=5)])
    single, general, difference = lines.splitlines()[2:]
    assert single.startswith("| T1 | this subset | 3 | 18.00 (18.00 … 18.00) | ")
    assert general.startswith("| T1 | any subset | 5 | 0.00 (0.00 … 0.00) | ")
    assert difference.startswith("| T1 | any − this |  | -18.00 (-18.00 … -18.00) | ")
