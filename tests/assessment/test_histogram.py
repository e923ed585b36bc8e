"""Merged bins hide the few and lose nobody, and what they bound is the exact area."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.assessment.histogram import Group, auc_bounds, bin_of, merged
from common.metrics.classification import area_under_roc

COUNTS = st.lists(st.integers(0, 9), min_size=1, max_size=12)


@given(COUNTS, st.integers(1, 6))
def test_every_group_holds_nobody_or_enough_and_all_bins_are_covered_once(counts, fewest):
    if sum(counts) < fewest:
        with pytest.raises(ValueError, match="cannot be grouped"):
            merged(counts, fewest)
        return
    groups = merged(counts, fewest)
    assert [group.low for group in groups] == [0, *(group.high for group in groups[:-1])]
    assert groups[-1].high == len(counts)
    assert all(group.patients == 0 or group.patients >= fewest for group in groups)
    assert all(group.patients == sum(counts[group.low : group.high]) for group in groups)


def test_with_a_minimum_of_one_nothing_is_merged():
    assert merged([0, 2, 1, 0], 1) == (Group(0, 1, 0), Group(1, 2, 2), Group(2, 3, 1), Group(3, 4, 0))


def test_small_bins_are_merged_from_the_left_and_the_rest_joins_the_last_group():
    assert merged([1, 2, 2, 7, 0, 1], 5) == (Group(0, 3, 5), Group(3, 6, 8))


def test_the_least_and_the_greatest_bin_that_is_held_by_few_are_not_told():
    assert merged([0, 0, 2, 3, 0, 0], 5) == (Group(0, 6, 5),)
    assert merged([0, 1, 0, 1, 0, 0], 2)[0].low == 0


@pytest.mark.parametrize(("value", "expected"), [(-1.0, 0), (-0.96, 0), (-0.94, 1), (0.0, 20), (1.0, 39), (7.0, 39)])
def test_a_value_lies_in_its_bin_and_beyond_the_ends_in_the_last(value, expected):
    assert bin_of(value, -1, 1, 40) == expected


def grouped(scores, fewest, bins=40):
    return merged(np.bincount([bin_of(score, -1, 1, bins) for score in scores], minlength=bins).tolist(), fewest)


@settings(max_examples=50, deadline=None)  # the first example imports SciPy
@given(st.integers(0, 10_000), st.integers(5, 40), st.integers(5, 40), st.integers(1, 5))
def test_the_exact_area_lies_within_the_bounds_of_merged_histograms(seed, positives, negatives, fewest):
    draw = np.random.default_rng(seed)
    disrupted = np.clip(draw.normal(0.2, 0.3, positives), -1, 1)
    intact = np.clip(draw.normal(-0.1, 0.3, negatives), -1, 1)
    exact = area_under_roc([*disrupted, *intact], [True] * positives + [False] * negatives)
    bounds = auc_bounds(grouped(disrupted, fewest), grouped(intact, fewest))
    assert bounds.low - 1e-12 <= exact.value <= bounds.high + 1e-12
    assert bounds.interval_low <= bounds.low and bounds.high <= bounds.interval_high
    assert (bounds.positives, bounds.negatives) == (positives, negatives)


def test_groups_of_several_sites_bound_the_pooled_area():
    draw = np.random.default_rng(3)
    sites = [(draw.normal(0.3, 0.2, 12), draw.normal(-0.2, 0.2, 9)) for _ in range(3)]
    disrupted, intact = (np.concatenate(side) for side in zip(*sites, strict=True))
    exact = area_under_roc([*disrupted, *intact], [True] * 36 + [False] * 27).value
    sides = [tuple(group for site in sites for group in grouped(site[side], 3)) for side in (0, 1)]
    bounds = auc_bounds(*sides)
    assert bounds.low <= exact <= bounds.high < 1 + 1e-12


def test_unmerged_histograms_are_as_exact_as_their_bins():
    apart = auc_bounds([Group(3, 4, 5)], [Group(1, 2, 5)])
    assert (apart.low, apart.high) == (1.0, 1.0)
    same = auc_bounds([Group(3, 4, 5)], [Group(3, 4, 5)])
    assert (same.low, same.high) == (0.0, 1.0)


def test_without_a_class_there_is_no_area():
    assert auc_bounds([], [Group(1, 2, 5)]) is None and auc_bounds([Group(0, 9, 0)], [Group(1, 2, 5)]) is None
