"""Any orientation to RAS+ and back."""

from __future__ import annotations

from itertools import permutations, product

import numpy as np
import pytest

from client.imaging.orientation import orientation_of, to_canonical, to_native

ORIENTATIONS = ["".join(letters) for axes in permutations(("LR", "PA", "IS")) for letters in product(*axes)]


def affine_of(orientation: str) -> np.ndarray:
    """An affine whose axes point as named, with spacing 1, 2, 3 along the voxel axes."""
    affine = np.eye(4)
    affine[:3, :3] = 0
    for axis, letter in enumerate(orientation):
        row = next(index for index, pair in enumerate(("LR", "PA", "IS")) if letter in pair)
        affine[row, axis] = (axis + 1) * (1 if letter in "RAS" else -1)
    affine[:3, 3] = [5, -7, 11]
    return affine


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_every_orientation_comes_back_voxel_by_voxel(orientation: str):
    data = np.arange(2 * 3 * 4, dtype=np.float32).reshape(2, 3, 4)
    affine = affine_of(orientation)
    straight, canonical = to_canonical(data, affine)
    assert orientation_of(affine) == orientation
    assert orientation_of(canonical) == "RAS"
    np.testing.assert_array_equal(to_native(straight, affine), data)


@pytest.mark.parametrize("orientation", ["LPS", "SAR", "PIL"])
def test_a_voxel_stays_where_it_is_in_the_world(orientation: str):
    data = np.zeros((2, 3, 4), np.float32)
    data[1, 0, 2] = 1
    affine = affine_of(orientation)
    straight, canonical = to_canonical(data, affine)
    place = np.argwhere(straight == 1)[0]
    np.testing.assert_allclose(canonical @ [*place, 1], affine @ [1, 0, 2, 1])
