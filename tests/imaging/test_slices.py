"""The study grid over one case."""

from __future__ import annotations

import numpy as np
import pytest

from client.imaging.resample import mask_to_grid
from client.imaging.slices import bounds, crop, grid_around, to_slices
from common.errors import DataError
from common.study import Grid

GRID = Grid(spacing_mm=(5.0, 5.0, 6.0), shape=(32, 48))


def test_the_grid_is_centred_on_the_brain_and_as_deep_as_it(blob, moved):
    affine = moved((5, 10, -20), (1, 2, 3)) @ blob.affine
    grid = grid_around(blob.mask, affine, GRID)
    first, last = bounds(blob.mask)
    assert grid.shape == (32, 48, int(np.ceil((last - first + 1)[2] * 3 / 6)))
    middle = grid.affine @ [*((np.array(grid.shape) - 1) / 2), 1]
    np.testing.assert_allclose(middle, affine @ [*((first + last) / 2), 1])
    np.testing.assert_allclose(np.linalg.norm(grid.affine[:3, :3], axis=0), GRID.spacing_mm)


def test_the_whole_brain_is_on_the_grid(blob):
    grid = grid_around(blob.mask, blob.affine, GRID)
    on_grid = mask_to_grid(blob.mask, blob.affine, grid.shape, grid.affine)
    assert on_grid.sum() * 150 == pytest.approx(blob.mask.sum() * 27, rel=0.03)


def test_a_brain_that_does_not_fit_is_refused(blob):
    with pytest.raises(DataError, match=r"raise grid\.shape"):
        grid_around(blob.mask, 2 * blob.affine, GRID)


def test_an_empty_mask_is_refused(blob):
    with pytest.raises(DataError, match="mask is empty"):
        grid_around(np.zeros_like(blob.mask), blob.affine, GRID)


def test_cropping_keeps_every_voxel_in_its_place(blob):
    data, mask, affine = crop(blob.data, blob.affine, blob.mask, margin_mm=3.0)
    assert mask.sum() == blob.mask.sum()
    first, _ = bounds(mask)
    assert (first <= 1).all()
    index = np.argwhere(mask)[100]
    world = np.linalg.solve(blob.affine, affine @ [*index, 1])[:3]
    assert blob.data[tuple(np.round(world).astype(int))] == data[tuple(index)]


def test_slices_are_stacked_from_foot_to_head():
    volume = np.arange(24).reshape(2, 3, 4)
    assert to_slices(volume).shape == (4, 2, 3)
    np.testing.assert_array_equal(to_slices(volume)[2], volume[:, :, 2])
