"""Segmentation of a volume: nesting of labels, background, batches, sliding windows, mirror images."""

from __future__ import annotations

import contextlib

import numpy as np
import pytest
import torch
from torch import Tensor

from client.inference.segment import labels_of, segment_volume, without_specks
from common.nets.segmenter_plan import Reading


def test_labels_nest_enhancing_in_core_in_whole():
    whole = np.array([0.9, 0.9, 0.9, 0.1, 0.9], np.float32)
    core = np.array([0.1, 0.9, 0.9, 0.9, 0.1], np.float32)
    enhancing = np.array([0.1, 0.1, 0.9, 0.9, 0.9], np.float32)
    assert labels_of(np.stack([whole, core, enhancing])).tolist() == [2, 1, 4, 0, 2]


def test_batches_equal_the_whole_and_background_is_never_tumour():
    torch.manual_seed(1)
    model = torch.nn.Conv2d(4, 3, 1)
    stack = np.random.default_rng(1).uniform(-0.9, 1, (4, 5, 8, 8)).astype(np.float32)
    stack[:, 2] = -1
    stack[:, :, 0, 0] = -1
    once, parts = segment_volume(model, stack), segment_volume(model, stack, batch=2)
    assert np.allclose(once, parts, atol=1e-6)
    assert once.shape == (3, 5, 8, 8)
    assert not once[:, 2].any()
    assert not once[:, :, 0, 0].any()
    assert (once[:, 0, 1:, 1:] > 0).all()


def test_specks_below_half_a_millilitre_go_and_touching_labels_count_together():
    labels = np.zeros((4, 10, 10), np.uint8)
    labels[0, 0, :4] = 2
    labels[1, 0, :1] = 4
    labels[3, 9, 5:] = [2, 2, 0, 2, 2]
    kept = without_specks(labels, voxel_ml=0.1)
    assert (kept[:2] == labels[:2]).all()
    assert not kept[3].any()


class Windowed(torch.nn.Module):
    """One convolution that reads slices, or windows of 4 x 8 x 8 and counts the most that it was given at once."""

    def __init__(self, flips: tuple[int, ...] = (), window: tuple[int, int, int] | None = (4, 8, 8)) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.mix = torch.nn.Conv3d(4, 3, 3, padding=1) if window else torch.nn.Conv2d(4, 3, 3, padding=1)
        self.reading = Reading(window, 0.5, flips)
        self.most = 0

    def forward(self, x: Tensor) -> Tensor:
        self.most = max(self.most, len(x))
        return self.mix(x)


@pytest.fixture
def volume() -> np.ndarray:
    """A brain with background around it, 6 x 18 x 14 in 8 x 20 x 16."""
    stack = np.full((4, 8, 20, 16), -1, np.float32)
    stack[:, 1:7, 1:19, 1:15] = np.random.default_rng(2).uniform(-0.9, 1, (4, 6, 18, 14))
    return stack


@pytest.fixture(autouse=True)
def full_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("client.inference.segment.half_precision", lambda device: contextlib.nullcontext())


def test_a_constant_network_slides_to_a_constant(volume: np.ndarray) -> None:
    model = Windowed()
    torch.nn.init.zeros_(model.mix.weight)
    found = segment_volume(model, volume)
    expected = torch.sigmoid(model.mix.bias).detach().numpy()[:, None, None, None]
    inside = (volume > -1).any(0)
    assert np.allclose(found[:, inside], np.broadcast_to(expected, found.shape)[:, inside], atol=1e-5)
    assert not found[:, ~inside].any()


def test_windows_at_once_change_nothing(volume: np.ndarray) -> None:
    model = Windowed()
    together = segment_volume(model, volume, batch=32)
    assert model.most == 8
    assert np.allclose(together, segment_volume(model, volume, batch=1), atol=1e-5)


def test_windows_of_a_pointwise_network_give_what_the_whole_volume_gives(volume: np.ndarray) -> None:
    pointwise = Windowed()
    with torch.no_grad():
        kept = torch.zeros(3, 3, 3)
        kept[1, 1, 1] = 1
        pointwise.mix.weight *= kept
        whole = torch.sigmoid(pointwise.mix(torch.from_numpy(volume)[None]))[0].numpy()
    inside = (volume > -1).any(0)
    assert np.allclose(segment_volume(pointwise, volume)[:, inside], whole[:, inside], atol=1e-5)


def test_a_volume_smaller_than_the_window_is_surrounded_by_background(volume: np.ndarray) -> None:
    small = volume[:, 2:4, 3:8, 3:8]
    found = segment_volume(Windowed(), small)
    assert found.shape == (3, 2, 5, 5) and (found > 0).all()


@pytest.mark.parametrize(("window", "flips"), [(None, (-2, -1)), ((4, 8, 8), (-2, -1, -3))])
def test_a_mirrored_volume_gives_exactly_the_mirrored_tumour(volume: np.ndarray, window, flips) -> None:
    model = Windowed(flips, window)
    found = segment_volume(model, volume)
    for axes in ((-1,), (-2,), (-2, -1), flips):
        mirrored = segment_volume(model, np.ascontiguousarray(np.flip(volume, axes)))
        assert np.array_equal(mirrored, np.flip(found, axes))
    plain = Windowed((), window)
    assert not np.allclose(segment_volume(plain, np.ascontiguousarray(np.flip(volume, -1))), np.flip(found, -1))


def test_the_mean_over_one_flip_is_the_mean_of_both_answers(volume: np.ndarray) -> None:
    once = segment_volume(Windowed((), None), volume)
    other = np.flip(segment_volume(Windowed((), None), np.ascontiguousarray(np.flip(volume, -2))), -2)
    assert np.allclose(segment_volume(Windowed((-2,), None), volume), (once + other) / 2, atol=1e-6)


def test_a_volume_without_brain_has_no_tumour() -> None:
    assert not segment_volume(Windowed((-1,)), np.full((4, 3, 8, 8), -1, np.float32)).any()
