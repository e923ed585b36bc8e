"""Laws of augmentation: what belongs together moves together, and nothing but geometry changes."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from client.data.augmentation import draw_maps, mirror_some, move_some
from client.data.dataset import SliceBatch
from common.sequences import Sequence

ROWS, HEIGHT, WIDTH = 16, 64, 80
T1 = Sequence.T1


@pytest.fixture
def batch() -> SliceBatch:
    """A brain that fills all but the border, and a disc of radius 12, bright on T1 and labelled 4, off the middle."""
    y, x = torch.meshgrid(torch.arange(HEIGHT), torch.arange(WIDTH), indexing="ij")
    disc = ((y - 26) ** 2 + (x - 48) ** 2 < 12**2).expand(ROWS, HEIGHT, WIDTH)
    brain = torch.zeros(ROWS, 1, HEIGHT, WIDTH, dtype=torch.bool)
    brain[:, :, 4:-4, 4:-4] = True
    image = torch.where(brain, torch.where(disc[:, None], 0.8, -0.2), -1.0)
    numbers = torch.zeros(ROWS, dtype=torch.long)
    return SliceBatch(
        images={T1: image},
        present={T1: torch.ones(ROWS, dtype=torch.bool)},
        brain=brain,
        labels=(disc * 4).to(torch.uint8),
        label_kind=numbers + 2,
        bbb=numbers,
        case_index=numbers,
        slice_index=numbers,
    )


def test_mirroring_turns_images_and_masks_of_a_slice_together(batch: SliceBatch, rng: torch.Generator) -> None:
    mirrored = mirror_some(batch, rng)
    turned = [not torch.equal(mirrored.labels[row], batch.labels[row]) for row in range(ROWS)]
    assert 2 < sum(turned) < 14
    for row, is_turned in enumerate(turned):
        expected = batch.images[T1][row].flip(1) if is_turned else batch.images[T1][row]
        assert torch.equal(mirrored.images[T1][row], expected)
        assert torch.equal(mirrored.labels[row], batch.labels[row].flip(0) if is_turned else batch.labels[row])


def test_moving_keeps_image_and_labels_on_each_other(batch: SliceBatch, rng: torch.Generator) -> None:
    moved = move_some(batch, rng)
    bright, labelled = moved.images[T1][:, 0] > 0.3, moved.labels == 4
    assert int((bright ^ labelled).sum()) < 0.05 * int(labelled.sum())
    assert set(moved.labels.unique().tolist()) == {0, 4}
    assert bool((moved.images[T1][~moved.brain] == -1).all())
    assert not torch.equal(moved.labels, batch.labels)


def test_moving_turns_and_zooms_but_does_not_shear(rng: torch.Generator) -> None:
    """In millimetres, not in the grid's coordinates, each map is a turn times a zoom: M Mᵀ = z² I."""
    to_pixels = torch.diag(torch.tensor([WIDTH, HEIGHT], dtype=torch.float32))
    maps = to_pixels @ draw_maps(200, HEIGHT / WIDTH, rng)[:, :, :2] @ torch.linalg.inv(to_pixels)
    square = maps @ maps.transpose(1, 2)
    zoom = square[:, 0, 0].sqrt()
    torch.testing.assert_close(square, zoom[:, None, None] ** 2 * torch.eye(2).expand(200, 2, 2))
    turn = torch.rad2deg(torch.atan2(maps[:, 1, 0], maps[:, 0, 0]))
    assert 1 / 1.15 <= float(zoom.min()) < 0.9 and 1.1 < float(zoom.max()) <= 1.15
    assert -15 <= float(turn.min()) < -13 and 13 < float(turn.max()) <= 15


def test_moving_makes_lesions_larger_and_smaller(batch: SliceBatch, rng: torch.Generator) -> None:
    areas = [int((labels > 0).sum()) for labels in move_some(batch, rng).labels]
    area = int((batch.labels[0] > 0).sum())
    assert min(areas) < 0.9 * area and max(areas) > 1.1 * area


def test_moving_draws_everything_from_its_generator(batch: SliceBatch) -> None:
    first, again = (move_some(batch, torch.Generator().manual_seed(3)) for _ in range(2))
    other = move_some(replace(batch), torch.Generator().manual_seed(4))
    assert torch.equal(first.images[T1], again.images[T1])
    assert not torch.equal(first.images[T1], other.images[T1])
