import numpy as np
import pytest
from scipy.stats import norm
from sklearn.metrics import roc_auc_score

from common.metrics.classification import area_under_roc, roc_curve


def test_the_area_is_the_share_of_pairs_in_the_right_order():
    found = area_under_roc([0.1, 0.4, 0.35, 0.8], [False, False, True, True])
    assert found.value == pytest.approx(3 / 4)
    assert (found.positives, found.negatives) == (2, 2)


def test_ties_count_one_half():
    assert area_under_roc([1, 1, 1, 1], [True, False, True, False]).value == 0.5
    assert area_under_roc([1, 2, 1, 0], [True, True, False, False]).value == pytest.approx(3.5 / 4)


def test_the_order_of_patients_is_irrelevant_and_swapping_classes_mirrors_the_area():
    scores, positive = [0.3, 0.9, 0.2, 0.7, 0.6], [True, True, False, True, False]
    first = area_under_roc(scores, positive)
    assert area_under_roc(scores[::-1], positive[::-1]) == first
    mirrored = area_under_roc(scores, [not status for status in positive])
    assert mirrored.value == pytest.approx(1 - first.value)


@pytest.mark.parametrize(("status", "missing"), [(True, "negative"), (False, "positive")])
def test_a_single_class_has_no_area_and_says_which_class_is_missing(status, missing):
    found = area_under_roc([0.1, 0.2], [status, status])
    assert (found.value, found.low, found.high) == (None, None, None)
    assert missing in found.note


def test_the_interval_of_perfect_separation_is_wide_and_holds_one():
    found = area_under_roc([1, 2, 3, 10, 11, 12], [False] * 3 + [True] * 3)
    assert (found.value, found.high) == (1, 1)
    assert found.low == pytest.approx(0.025 ** (1 / 3))
    assert "disjoint pairs" in found.note


def test_a_class_of_one_still_has_an_interval():
    found = area_under_roc([1, 2, 3, 2.5], [False, False, False, True])
    assert found.value == pytest.approx(2 / 3)
    assert 0 <= found.low < found.value < found.high <= 1


def test_the_variance_is_delongs_of_a_case_worked_by_hand():
    # positives 2, 4 and 5, negatives 1, 3: placements of the positives 1/2, 1, 1 and of the negatives 1, 2/3
    found = area_under_roc([2, 4, 5, 1, 3], [True, True, True, False, False])
    variance = np.var([0.5, 1, 1], ddof=1) / 3 + np.var([1, 2 / 3], ddof=1) / 2
    value = 5 / 6
    half = 1.959964 * np.sqrt(variance) / (value * (1 - value))
    assert found.value == pytest.approx(value)
    assert np.log(found.low / (1 - found.low)) == pytest.approx(np.log(5) - half, rel=1e-5)
    assert np.log(found.high / (1 - found.high)) == pytest.approx(np.log(5) + half, rel=1e-5)


def test_the_area_agrees_with_scikit_learn_where_many_scores_tie():
    rng = np.random.default_rng(3)
    scores, positive = rng.integers(0, 6, 60).astype(float), rng.random(60) < 0.4
    assert area_under_roc(scores, positive).value == pytest.approx(roc_auc_score(positive, scores))


def test_the_interval_covers_the_true_area_about_as_often_as_it_says():
    rng = np.random.default_rng(4)
    truth = norm.cdf(1.19 / np.sqrt(2))
    positive = np.repeat([True, False], 20)
    inside = 0
    for _ in range(200):
        found = area_under_roc(rng.normal(np.where(positive, 0.595, -0.595), 1), positive)
        inside += found.low <= truth <= found.high
    assert 182 <= inside <= 198


def test_the_curve_runs_from_corner_to_corner_and_encloses_the_area():
    scores, positive = [3, 2, 2, 1, 0], [True, True, False, True, False]
    curve = roc_curve(scores, positive)
    assert (curve.false_positive_rate[0], curve.true_positive_rate[0]) == (0, 0)
    assert (curve.false_positive_rate[-1], curve.true_positive_rate[-1]) == (1, 1)
    enclosed = np.trapezoid(curve.true_positive_rate, curve.false_positive_rate)
    assert enclosed == pytest.approx(area_under_roc(scores, positive).value)


def test_scores_that_are_not_finite_are_refused():
    with pytest.raises(ValueError, match="not finite"):
        area_under_roc([0.1, float("nan")], [True, False])
