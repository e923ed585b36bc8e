"""Fixed-point numbers: exact where they can be, wrong by half a unit at most, and never silently cut."""

from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError

from common.secure.fixed_point import BeyondClipError, check_range, decode, encode
from common.settings.secure_aggregation import SecureAggregation


def test_halves_and_quarters_by_hand():
    words = encode(np.array([1.0, -1.0, 0.25]), 0.5, 2)
    assert words.tolist() == [2, 2**32 - 2, 0]  # half a quarter rounds to even
    assert decode(np.array([2, 2**32 - 2], dtype=np.uint32), 0.5, 2).tolist() == [1.0, -1.0]


def test_a_sum_of_encoded_shares_is_the_mean_within_half_a_unit_a_site():
    random = np.random.default_rng(0)
    shares = np.array([0.5, 0.3, 0.2])
    values = random.uniform(-64, 64, (3, 10_000))
    total = np.zeros(10_000, dtype=np.uint32)
    for share, row in zip(shares, values, strict=True):
        total += encode(row, float(share), 24)
    assert np.abs(decode(total, 1.0, 24) - shares @ values).max() <= 3 / 2 * 2.0**-24


def test_the_largest_mean_of_the_most_sites_does_not_wrap():
    settings = SecureAggregation()
    total = np.zeros(1, dtype=np.uint32)
    for _ in range(256):
        total += encode(np.array([settings.clip]), 1 / 256, settings.fraction_bits)
    assert decode(total, 1.0, settings.fraction_bits)[0] == pytest.approx(settings.clip)


@pytest.mark.parametrize("value", [64.1, -65.0, np.inf, np.nan])
def test_a_number_beyond_the_clip_is_refused(value):
    check_range(np.array([64.0, -64.0]), 64.0)
    with pytest.raises(BeyondClipError, match="beyond 64"):
        check_range(np.array([0.0, value]), 64.0)


def test_numbers_that_would_wrap_are_refused_in_the_study():
    with pytest.raises(ValidationError, match="overflows 32 bits"):
        SecureAggregation(clip=64.0, fraction_bits=25)


@pytest.mark.parametrize(
    ("sites", "threshold", "problem"),
    [
        (2, None, "needs 3 to 256 sites"),
        (5, 6, "can never be reached"),
        (6, 3, "no majority"),
        (3, None, None),
        (5, 3, None),
    ],
)
def test_thresholds_that_protect_nobody_are_refused(sites, threshold, problem):
    said = SecureAggregation(enabled=True, threshold=threshold).problem(sites)
    assert said is None if problem is None else problem in said


def test_the_default_threshold_is_a_majority_of_at_least_three():
    assert [SecureAggregation().needed(sites) for sites in (3, 4, 5, 6, 7, 200)] == [3, 3, 3, 4, 4, 101]
