"""Random fields and grids."""

from __future__ import annotations

import numpy as np
import pytest

from simulations.phantom.fields import make_grid, sigmoid, smooth_field


def rng() -> np.random.Generator:
    return np.random.default_rng(4)


def test_a_field_has_mean_zero_and_unit_deviation() -> None:
    field = smooth_field(rng(), make_grid(4.0), 8.0)
    assert field.dtype == np.float32
    assert abs(field.mean()) < 0.05
    assert field.std() == pytest.approx(1, abs=0.05)


def test_one_seed_draws_one_field_at_every_voxel_size() -> None:
    fine, coarse = (smooth_field(rng(), make_grid(spacing), 20.0) for spacing in (2.0, 4.0))
    i, j, k = coarse.shape
    averaged = fine[: 2 * i, : 2 * j, : 2 * k].reshape(i, 2, j, 2, k, 2).mean(axis=(1, 3, 5))
    assert np.abs(averaged - coarse).max() < 0.05


def test_wider_knots_make_smoother_fields() -> None:
    steps = [np.abs(np.diff(smooth_field(rng(), make_grid(4.0), knot), axis=0)).mean() for knot in (10.0, 30.0, 60.0)]
    assert steps[0] > steps[1] > steps[2]


def test_both_voxel_sizes_cover_the_same_millimetres() -> None:
    for spacing in (1.0, 2.0, 4.0):
        grid = make_grid(spacing)
        assert grid.axis_mm(0)[0] - spacing / 2 == pytest.approx(grid.first_mm[0])
        assert grid.axis_mm(0)[-1] + spacing / 2 == pytest.approx(grid.first_mm[0] + grid.extent_mm[0])


def test_the_logistic_function_does_not_overflow() -> None:
    np.testing.assert_allclose(sigmoid(np.array([-1e6, 0.0, 1e6])), [0, 0.5, 1])
