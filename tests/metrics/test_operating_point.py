"""Thresholds by best F1, on tables small enough to fill by hand."""

import numpy as np
import pytest

from common.metrics.operating_point import (
    DECISIONS,
    SLICE_THRESHOLDS,
    TABLE_SHAPE,
    VOLUME_THRESHOLDS,
    best_operating_point,
)

DISRUPTED, INTACT, UNDECIDED = range(len(DECISIONS))


def table(truths, decide):
    """Return the table of patients of these classes, each decided by `decide(patient, slice, volume threshold)`."""
    found = np.zeros(TABLE_SHAPE)
    for patient, truth in enumerate(truths):
        for row, slice_threshold in enumerate(SLICE_THRESHOLDS):
            for column, volume_threshold in enumerate(VOLUME_THRESHOLDS):
                found[row, column, truth, decide(patient, slice_threshold, volume_threshold)] += 1
    return found


def test_the_paper_s_thresholds_are_on_the_grid():
    assert 0.5 in SLICE_THRESHOLDS and 0.5 in VOLUME_THRESHOLDS


def test_equal_thresholds_give_the_middle_of_their_plateau():
    found = best_operating_point(
        table([0, 1], lambda patient, _, volume: INTACT if volume > [0.35, 0.65][patient] else DISRUPTED)
    )
    assert found is not None and found.f1 == 1
    assert found.slice_threshold == 0.5  # all rows agree
    assert found.volume_threshold == 0.5  # 0.36 … 0.64 agree


def test_the_larger_of_two_plateaus_is_taken():
    def right_below_03_and_above_06(patient, slice_threshold, _):
        return (INTACT, DISRUPTED)[patient] if slice_threshold < 0.3 or slice_threshold > 0.6 else INTACT

    found = best_operating_point(table([0, 1], right_below_03_and_above_06))
    assert found is not None and (found.f1, found.slice_threshold) == (1, 0.8)  # 0.65 … 0.95


def test_an_undecided_disrupted_patient_is_missed():
    found = best_operating_point(table([1, 1, 0], lambda patient, *_: (DISRUPTED, UNDECIDED, INTACT)[patient]))
    assert found is not None and found.f1 == pytest.approx(2 / 3)  # 2 · 1 / (1 + 0 + 2)


def test_one_class_alone_fits_nothing():
    assert best_operating_point(table([1, 1], lambda *_: DISRUPTED)) is None
    assert best_operating_point(table([0], lambda *_: INTACT)) is None


def test_counts_and_shares_give_the_same_thresholds():
    counts = table([0, 1, 1], lambda patient, _, volume: INTACT if volume > [0.4, 0.55, 0.7][patient] else DISRUPTED)
    assert best_operating_point(counts) == best_operating_point(counts / 3)
