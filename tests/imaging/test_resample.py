"""Volumes on other grids."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from client.imaging.resample import average_within, labels_to_grid, mask_to_grid, to_grid


def scaled(*spacing: float, origin: tuple[float, float, float] = (0, 0, 0)) -> np.ndarray:
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = origin
    return affine


def test_the_same_grid_changes_nothing(blob):
    np.testing.assert_array_equal(to_grid(blob.data, blob.affine, blob.data.shape, blob.affine), blob.data)


def test_a_shift_of_one_voxel_moves_each_voxel_by_one(blob):
    moved = to_grid(blob.data, blob.affine, blob.data.shape, blob.affine @ scaled(1, 1, 1, origin=(1, 0, -2)))
    np.testing.assert_allclose(moved[:-1, :, 2:], blob.data[1:, :, :-2], atol=1e-4)
    assert not moved[-1].any()


def test_beyond_the_source_lies_nothing_or_its_edge():
    data = np.full((3, 3, 3), 7, np.float32)
    wide = scaled(1, 1, 1, origin=(-2, 0, 0))
    assert to_grid(data, np.eye(4), (7, 3, 3), wide)[:, 1, 1].tolist() == [0, 0, 7, 7, 7, 0, 0]
    assert to_grid(data, np.eye(4), (7, 3, 3), wide, extend=True)[:, 1, 1].tolist() == [7] * 7


def test_a_voxel_reaches_half_its_size_beyond_its_centre():
    slab = np.full((1, 1, 2), 5, np.float32)
    fine = to_grid(slab, scaled(1, 1, 6), (1, 1, 12), scaled(1, 1, 1, origin=(0, 0, -2.5)))
    assert (fine == 5).all()


def test_a_straight_slope_stays_straight_between_voxels_in_any_direction(moved):
    i, j, k = np.indices((12, 12, 12))
    slope = (2 * i + 3 * j - k).astype(np.float32)
    turned = moved((10, -20, 30), (5, 4, 6))
    found = to_grid(slope, np.eye(4), (3, 3, 3), turned @ scaled(0.5, 0.5, 0.5))
    for index in np.ndindex(3, 3, 3):
        x, y, z = (turned @ scaled(0.5, 0.5, 0.5) @ [*index, 1])[:3]
        assert found[index] == pytest.approx(2 * x + 3 * y - z, abs=1e-4)


def test_a_smooth_volume_survives_a_round_trip_through_a_coarser_turned_grid(blob, moved):
    smooth = gaussian_filter(blob.data, 3)
    turned = moved((8, -5, 12), (2, -3, 1)) @ blob.affine @ scaled(1.5, 1.5, 1.5)
    there = to_grid(smooth, blob.affine, (36, 40, 32), turned)
    back = to_grid(there, turned, smooth.shape, blob.affine)
    inner = np.s_[10:-10, 10:-10, 10:-10]
    assert np.abs(back - smooth)[inner].mean() < 0.02 * smooth[inner].mean()


def test_a_finer_grid_and_back_only_smooths_a_little(blob):
    fine = blob.affine @ scaled(0.5, 0.5, 0.5, origin=(-0.25, -0.25, -0.25))
    there = to_grid(blob.data, blob.affine, tuple(2 * size for size in blob.data.shape), fine)
    back = to_grid(there, fine, blob.data.shape, blob.affine)
    smooth = gaussian_filter(blob.data, 0.5)  # what two linear interpolations and the antialiasing amount to
    assert np.abs(back - smooth)[blob.mask].mean() < 0.05 * smooth[blob.mask].mean()


def test_detail_too_fine_for_the_grid_is_averaged_not_folded():
    i = np.indices((64, 16, 16))[0]
    stripes = (i % 2).astype(np.float32)
    coarse = to_grid(stripes, np.eye(4), (16, 16, 16), scaled(4, 1, 1))
    assert np.ptp(coarse[2:-2]) < 0.02
    assert coarse[8, 8, 8] == pytest.approx(0.5, abs=0.02)


def test_nearest_neighbours_invent_no_value():
    labels = np.random.default_rng(0).choice([0, 1, 2, 4], (9, 9, 9))
    found = to_grid(labels, np.eye(4), (20, 20, 20), scaled(0.4, 0.4, 0.4), order=0)
    assert set(np.unique(found)) <= {0, 1, 2, 4}


def test_the_label_that_fills_most_of_a_voxel_wins():
    labels = np.zeros((9, 3, 3), np.uint8)
    labels[3:5], labels[5] = 1, 2
    coarse = labels_to_grid(labels, np.eye(4), (3, 3, 3), scaled(3, 1, 1, origin=(1, 0, 0)))
    assert coarse[:, 1, 1].tolist() == [0, 1, 0]


def test_no_label_gives_none():
    assert not labels_to_grid(np.zeros((4, 4, 4), np.uint8), np.eye(4), (2, 2, 2), scaled(2, 2, 2)).any()


def test_a_mask_keeps_its_volume(blob):
    coarse = mask_to_grid(blob.mask, blob.affine, (22, 26, 20), blob.affine @ scaled(2, 2, 2, origin=(0.5, 0.5, 0.5)))
    assert coarse.sum() * 8 == pytest.approx(blob.mask.sum(), rel=0.03)


def test_an_average_within_a_mask_knows_nothing_of_what_lies_around_it():
    data = np.full((12, 12, 12), 1000, np.float32)
    mask = np.zeros(data.shape, bool)
    mask[3:9, 3:9, 3:9] = True
    data[mask] = 10
    values, share = average_within(data, mask, np.eye(4), (6, 6, 6), scaled(2, 2, 2, origin=(0.5, 0.5, 0.5)))
    np.testing.assert_allclose(values[share > 0.1], 10, rtol=1e-5)
    assert share[0, 0, 0] < 0.01
