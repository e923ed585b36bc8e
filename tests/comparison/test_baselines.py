import numpy as np
import pytest

from common.sequences import STRUCTURAL, Sequence
from simulations.baselines import LEVELS, fit_baselines, fit_tone_curve


def joint(source, target):
    counts = np.zeros((LEVELS, LEVELS), dtype=np.int64)
    np.add.at(counts, (source, target), 1)
    return counts


def test_an_inverted_sequence_has_a_falling_curve_without_error():
    greys = np.arange(LEVELS)
    curve = fit_tone_curve(joint(greys, 255 - greys))
    assert curve(greys.astype(float)) == pytest.approx(255.0 - greys)


def test_the_curve_is_monotone_whatever_it_is_fitted_to():
    rng = np.random.default_rng(1)
    curve = fit_tone_curve(joint(rng.integers(0, 256, 500), rng.integers(0, 256, 500)))
    steps = np.diff(curve.values)
    assert (steps >= 0).all() or (steps <= 0).all()


def test_the_constant_is_the_median_and_the_best_copy_the_nearest_sequence(toy):
    fitted = fit_baselines([toy.case("p1", disrupted=False)], STRUCTURAL)
    assert fitted.constant[Sequence.T1] == pytest.approx(100, abs=1)
    assert fitted.best_copy == {
        Sequence.T1: Sequence.T1GD,
        Sequence.T1GD: Sequence.T1,
        Sequence.T2: Sequence.FLAIR,
        Sequence.FLAIR: Sequence.T1GD,
    }


def test_a_pair_that_nobody_holds_has_no_curve(toy):
    cases = [toy.case("p1", sequences=(Sequence.T1,)), toy.case("p2", sequences=(Sequence.T2,))]
    fitted = fit_baselines(cases, STRUCTURAL)
    assert fitted.curves == {} and fitted.best_copy == {}
    assert set(fitted.constant) == {Sequence.T1, Sequence.T2}
