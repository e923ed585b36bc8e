"""Segmentation of a volume: nesting of labels, background, batches."""

from __future__ import annotations

import numpy as np
import torch

from client.inference.segment import labels_of, segment_volume, without_specks


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
