"""The bounds against closed forms, tables and, for the area, against how often they hold."""

import numpy as np
import pytest

from common.attacks.bounds import (
    Stratum,
    area_at_most,
    patients_for_area,
    patients_for_share,
    pooled_area,
    share_at_most,
)


def test_no_success_has_the_bound_known_in_closed_form():
    assert share_at_most(0, 25, 0.95) == pytest.approx(1 - 0.05 ** (1 / 25))


def test_two_of_twenty_have_the_tabulated_one_sided_bound():
    assert share_at_most(2, 20, 0.95) == pytest.approx(0.2826, abs=1e-4)


def test_nothing_tried_bounds_nothing():
    assert share_at_most(0, 0, 0.95) == 1.0


def test_an_area_of_one_is_bounded_by_one():
    assert area_at_most([Stratum(20, 10, 1.0)], 0.95) == 1.0


def test_an_area_of_zero_keeps_a_width():
    assert 0.05 < area_at_most([Stratum(20, 10, 0.0)], 0.95) < 0.5


def test_the_two_sided_interval_of_newcombe_has_both_ends_at_equal_distance_in_their_own_standard_errors():
    # method 5 at the bound itself: |theta - estimate| = z sqrt(V(theta)), here written out for m = n = 10
    bound = area_at_most([Stratum(10, 10, 0.5)], 0.975)
    spread = 1 + 9 * ((1 - bound) / (2 - bound) + bound / (1 + bound))
    assert (bound - 0.5) ** 2 == pytest.approx(1.959964**2 * bound * (1 - bound) * spread / 100, rel=1e-6)


def test_more_patients_and_more_sites_narrow_the_bound():
    one, more = [Stratum(30, 10, 0.5)], [Stratum(60, 20, 0.5)]
    assert area_at_most([*one, *one], 0.95) == pytest.approx(area_at_most(more, 0.95), abs=0.01)
    assert area_at_most(more, 0.95) < area_at_most(one, 0.95) < area_at_most(one, 0.99)


def test_the_order_of_sites_does_not_matter_and_the_larger_one_counts_more():
    small, large = Stratum(6, 5, 0.9), Stratum(90, 30, 0.5)
    assert pooled_area([small, large]) == pytest.approx(pooled_area([large, small]))
    assert pooled_area([small, large]) < 0.6


@pytest.mark.parametrize("shift", [0.0, 1.0])
@pytest.mark.parametrize("strata", [[(15, 5), (12, 6)], [(60, 20)]])
def test_the_bound_lies_above_the_true_area_about_as_often_as_it_says(shift, strata):
    from scipy.stats import norm

    generator, truth, held = np.random.default_rng(7), norm.cdf(shift / np.sqrt(2)), 0
    for _ in range(400):
        seen = []
        for members, strangers in strata:
            known, foreign = generator.normal(-shift, 1, members), generator.normal(0, 1, strangers)
            seen.append(Stratum(members, strangers, float((known[:, None] < foreign[None]).mean())))
        held += area_at_most(seen, 0.95) >= truth
    assert held / 400 > 0.92


@pytest.mark.parametrize("limit", [0.55, 0.6, 0.75])
def test_the_patients_said_to_be_needed_are_enough_and_one_fewer_is_not(limit):
    needed = patients_for_area(limit, 0.95)
    assert area_at_most([Stratum(needed, needed, 0.5)], 0.95) <= limit
    assert area_at_most([Stratum(needed - 1, needed - 1, 0.5)], 0.95) > limit


def test_a_share_of_five_in_a_hundred_takes_the_well_known_fifty_nine_patients():
    assert patients_for_share(0.05, 0.95) == 59
