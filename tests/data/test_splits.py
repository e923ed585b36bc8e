"""Splits go by patient, do not depend on order, and hold out the share that was asked for."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from client.data.splits import split_patients

PATIENTS = tuple(f"p{number}" for number in range(8))


@pytest.mark.parametrize(("fraction", "count"), [(0.0, 0), (0.01, 1), (0.25, 2), (0.3, 2), (0.32, 3), (0.5, 4)])
def test_the_share_is_rounded_half_up_and_at_least_one(fraction: float, count: int) -> None:
    assert len(split_patients(PATIENTS, fraction, seed=1).held_out) == count


def test_a_single_patient_is_never_held_out() -> None:
    assert split_patients(["only"], 0.5, seed=1).training == ("only",)


@settings(max_examples=30, deadline=None)
@given(st.sets(st.text(min_size=1), max_size=30), st.floats(0, 0.5), st.integers(0, 2**63 - 1), st.randoms())
def test_every_patient_is_in_exactly_one_part_whatever_the_order(patients, fraction, seed, random) -> None:
    split = split_patients(sorted(patients), fraction, seed)
    shuffled = sorted(patients) * 2
    random.shuffle(shuffled)
    assert split_patients(shuffled, fraction, seed) == split
    assert set(split.training) | set(split.held_out) == patients
    assert not set(split.training) & set(split.held_out)


def test_another_seed_holds_out_others() -> None:
    assert len({split_patients(PATIENTS, 0.5, seed).held_out for seed in range(10)}) > 5
