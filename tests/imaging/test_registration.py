"""Rigid registration of two contrasts of one head."""

from __future__ import annotations

import numpy as np
import pytest

from client.imaging.registration import register_rigid
from client.imaging.resample import to_grid
from client.imaging.synthetic_head import synthetic_head
from common.errors import DataError


@pytest.fixture(scope="module")
def head():
    """A head at 3.4 mm."""
    head = synthetic_head()
    coarse = head.affine @ np.diag([1.7, 1.7, 1.7, 1.0])
    shape = tuple(int(size / 1.7) for size in head.image.shape)
    brain = to_grid(head.depth_mm + 50, head.affine, shape, coarse) > 50
    return to_grid(head.image, head.affine, shape, coarse), brain, coarse


def other_contrast(image: np.ndarray) -> np.ndarray:
    """Dark where T1 is bright, air dark in both."""
    return np.where(image > 10, 260 - image, 0).astype(np.float32)


def error_mm(found: np.ndarray, truth: np.ndarray, brain: np.ndarray, affine: np.ndarray) -> float:
    """The mean distance between where two transforms carry the brain's voxels."""
    points = np.c_[np.argwhere(brain)[::50], np.ones(len(np.argwhere(brain)[::50]))] @ affine.T
    return float(np.linalg.norm((points @ (found - truth).T)[:, :3], axis=1).mean())


@pytest.mark.parametrize(
    ("angles", "shift"), [((3.0, -4.0, 6.0), (4.0, -7.0, 5.0)), ((-9.0, 5.0, 12.0), (-15.0, 10.0, 20.0))]
)
def test_a_known_motion_is_recovered_across_contrasts(head, moved, angles, shift):
    image, brain, affine = head
    truth = moved(angles, shift)
    found = register_rigid(image, affine, other_contrast(image), np.linalg.inv(truth) @ affine, brain)
    assert error_mm(found.matrix, truth, brain, np.linalg.inv(truth) @ affine) < 1.0
    assert found.mutual_information > 0.3


def test_a_moved_and_resampled_image_is_carried_back(head, moved):
    image, brain, affine = head
    truth = moved((4, 2, -5), (3, 6, -4))
    grid = affine @ np.diag([1, 1, 1.8, 1])
    shape = (*image.shape[:2], int(image.shape[2] / 1.8))
    moving = to_grid(other_contrast(image), np.linalg.inv(truth) @ affine, shape, grid)
    found = register_rigid(image, affine, moving, grid, brain)
    assert error_mm(found.matrix, truth, brain, affine) < 1.5


def test_an_image_lies_on_itself_and_two_runs_give_the_same_transform(head):
    image, brain, affine = head
    found, again = (register_rigid(image, affine, image, affine, brain) for _ in range(2))
    assert found.angle_deg < 0.3
    assert np.linalg.norm(found.matrix[:3, 3]) < 0.5
    np.testing.assert_array_equal(found.matrix, again.matrix)


def test_images_without_a_common_place_are_refused(monkeypatch: pytest.MonkeyPatch, head):
    image, brain, affine = head
    monkeypatch.setattr("client.imaging.registration.optimise", lambda *_: None)
    with pytest.raises(DataError, match="do not overlap"):
        register_rigid(image, affine, image, affine, brain)
