import pytest

from common.metrics.proportion import binomial_interval


def test_no_success_in_ten_trials_has_the_bound_known_in_closed_form():
    assert binomial_interval(0, 10) == (0.0, pytest.approx(1 - 0.025 ** (1 / 10)))


def test_all_successes_mirror_none():
    assert binomial_interval(10, 10) == (pytest.approx(0.025 ** (1 / 10)), 1.0)


def test_the_interval_of_eight_in_ten_is_the_tabulated_one():
    assert binomial_interval(8, 10) == (pytest.approx(0.4439, abs=1e-4), pytest.approx(0.9748, abs=1e-4))


def test_nothing_tried_leaves_everything_open():
    assert binomial_interval(0, 0) == (0.0, 1.0)


def test_more_successes_than_trials_are_refused():
    with pytest.raises(ValueError, match="3 successes in 2 trials"):
        binomial_interval(3, 2)
