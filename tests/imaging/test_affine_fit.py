"""Mutual information under an affine."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from client.imaging.affine_fit import FixedPoints, MutualInformation, parameters_of, rigid_directions


@pytest.fixture(scope="module")
def pair(blob):
    """The blob seen at its own voxels, and as a moving image of inverted contrast."""
    image = gaussian_filter(blob.data, 1.5)
    index = np.argwhere(blob.mask)[::5]
    points = index @ blob.affine[:3, :3].T + blob.affine[:3, 3]
    fixed = FixedPoints(points, image[tuple(index.T)].astype(np.float64))
    inverted = np.where(image > 5, 250 - image, 0).astype(np.float32)
    return MutualInformation(fixed, inverted, blob.affine, points.mean(axis=0))


def test_the_gradient_is_the_slope(pair):
    place = np.random.default_rng(1).normal(0, 2, 12)
    _, gradient = pair(place)
    for number in range(12):
        step = np.zeros(12)
        step[number] = 1e-3
        slope = (pair(place + step)[0] - pair(place - step)[0]) / 2e-3
        assert gradient[number] == pytest.approx(slope, abs=2e-4)


def test_the_climb_ends_where_the_images_lie_on_each_other(pair):
    start = np.random.default_rng(2).normal(0, 3, 12)
    information, place = pair.climb(start, np.eye(12), 60)
    assert information > pair(start)[0]
    np.testing.assert_allclose(pair.matrix(place), np.eye(4), atol=0.6)
    np.testing.assert_allclose(pair.matrix(place)[:3, :3], np.eye(3), atol=0.02)


def test_no_overlap_has_no_information(pair):
    information, gradient = pair(parameters_of(np.eye(3), [1000.0, 0, 0]))
    assert information == 0
    assert not gradient.any()


def test_rigid_directions_turn_and_shift_without_stretching():
    directions = rigid_directions(np.eye(3))
    assert directions.shape == (12, 6)
    for column in directions.T:
        turn = column[:9].reshape(3, 3)
        np.testing.assert_array_equal(turn, -turn.T)


def test_parameters_and_matrix_agree(pair):
    linear = np.diag([1.1, 0.9, 1.0])
    matrix = pair.matrix(parameters_of(linear, [1.0, 2.0, 3.0]))
    np.testing.assert_allclose(matrix[:3, :3], linear)
    np.testing.assert_allclose(matrix @ [*pair.centre, 1], [*(pair.centre + np.array([1, 2, 3])), 1])
