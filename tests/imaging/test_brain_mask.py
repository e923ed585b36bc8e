"""Brain extraction: stripped images known as such, heads fitted, nonsense refused."""

from __future__ import annotations

import numpy as np
import pytest

from client.imaging.brain_mask import extract_brain, stripped_brain
from client.imaging.resample import to_grid
from client.imaging.synthetic_head import synthetic_head
from common.errors import DataError


def head_scan(pose: np.ndarray, spacing: tuple[float, float, float], noise: float = 6.0):
    """A T2-like scan of a head with another shell, its brain, and its affine."""
    head = synthetic_head()
    rng = np.random.default_rng(5)
    shape = tuple(int(230 / step) for step in spacing)
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = [-115, -130, -95]
    carried = pose @ head.affine
    image = to_grid(head.image, carried, shape, affine)
    depth = to_grid(head.depth_mm + 60, carried, shape, affine) - 60
    contrast = np.where(image > 5, 300 - image, 0) + noise * np.abs(rng.standard_normal(shape))
    return contrast.astype(np.float32), depth > 0, affine


def test_a_stripped_image_is_its_own_mask(blob):
    shown = blob.data.copy()
    shown[22, 26, 20] = 0
    large = blob.affine * np.array([[1.1], [1.1], [1.1], [1.0]])
    found = extract_brain(shown, large)
    assert found.method == "stripped"
    np.testing.assert_array_equal(found.mask, blob.mask)
    assert found.litres == pytest.approx(blob.mask.sum() * 3.3**3 / 1e6)


def test_a_stripped_image_keeps_the_brain_and_drops_specks(blob):
    speckled = blob.data.copy()
    speckled[1, 1, 1] = 9
    large = blob.affine * np.array([[1.1], [1.1], [1.1], [1.0]])
    assert not extract_brain(speckled, large).mask[1, 1, 1]


def test_a_head_is_not_taken_for_a_stripped_brain(moved):
    scan, _, affine = head_scan(np.eye(4), (4, 4, 4), noise=0)
    assert np.mean(scan == 0) > 0.3
    assert stripped_brain(scan, affine) is None


def test_the_brain_of_a_turned_head_of_another_contrast_is_found(moved, overlap):
    pose = moved((10, -6, 14), (8, -12, 15))
    pose[:3, :3] = pose[:3, :3] @ np.diag([0.9, 0.96, 0.93])
    scan, brain, affine = head_scan(pose, (3, 3, 5))
    found = extract_brain(scan, affine)
    assert found.method == "synthetic-head"
    assert overlap(found.mask, brain) > 0.95
    assert 1.0 < found.litres < 2.0


def test_a_part_of_a_head_is_refused(moved):
    scan, _, affine = head_scan(np.diag([0.9, 0.9, 0.9, 1.0]), (4, 4, 4))
    with pytest.raises(DataError, match="give a brain mask"):
        extract_brain(scan[:, :, 35:42], affine @ np.array([[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 35], [0, 0, 0, 1.0]]))


def test_a_missing_template_names_the_remedy(monkeypatch: pytest.MonkeyPatch):
    synthetic_head.cache_clear()
    monkeypatch.setattr("client.imaging.synthetic_head.find_spec", lambda _: None)
    with pytest.raises(DataError, match="give brain masks with the scans"):
        synthetic_head()
