"""Platt's curve from histograms: it recovers a known curve, and refuses where there is nothing to say."""

import numpy as np
import pytest

from common.metrics.platt import BINS, PlattCurve, bin_of, fit_platt

MIDDLES = (np.arange(BINS) + 0.5) / BINS * 2 - 1


def test_a_known_curve_is_recovered_from_many_patients():
    known = PlattCurve(slope=3.0, intercept=-0.7)
    share = np.array([known(score) for score in MIDDLES])
    found = fit_platt(1e6 * np.stack([1 - share, share]))
    assert found is not None
    assert found.slope == pytest.approx(3.0, rel=1e-3) and found.intercept == pytest.approx(-0.7, rel=1e-3)


def test_mirrored_scores_give_one_half_in_the_middle():
    counts = np.zeros((2, BINS))
    counts[0, [1, 4]] = counts[1, [BINS - 2, BINS - 5]] = 1
    found = fit_platt(counts)
    assert found is not None and found(0.0) == pytest.approx(0.5)


def test_separated_classes_are_not_given_certainty():
    counts = np.zeros((2, BINS))
    counts[0, 0], counts[1, -1] = 3, 3
    found = fit_platt(counts)
    assert found is not None
    assert found(MIDDLES[-1]) == pytest.approx(4 / 5, abs=1e-6)  # Platt's target (3 + 1) / (3 + 2)
    assert found(MIDDLES[0]) == pytest.approx(1 / 5, abs=1e-6)


def test_a_score_that_falls_with_the_class_or_a_single_class_has_no_curve():
    counts = np.zeros((2, BINS))
    counts[1, 1], counts[0, 7] = 5, 5
    assert fit_platt(counts) is None
    counts[0] = 0
    assert fit_platt(counts) is None
    assert fit_platt(np.zeros((2, BINS))) is None


def test_bins_cover_the_range_of_scores():
    assert (bin_of(-1.0), bin_of(0.0), bin_of(1.0)) == (0, BINS // 2, BINS - 1)
    assert all(bin_of(float(middle)) == number for number, middle in enumerate(MIDDLES))
