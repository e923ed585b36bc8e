"""Both hypotheses over a volume: one noise, no dependence on batches, background kept."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import torch

from client.inference.synthesise import consistency, hypotheses_volume
from common.generative.noise_schedule import cosine_schedule

SCHEDULE = cosine_schedule(50)


def adds_half_where_enhancing(x_t, t, condition, enhancing):
    """T1 plus a half where the label says so, and a hundredth of the noisy input, so that the noise shows."""
    shift = enhancing[:, None, None, None] / 2
    return SimpleNamespace(image=condition[:, :1] + shift + x_t / 100, tumour_logits=condition[:, 1:])


def condition():
    images = np.random.default_rng(1).uniform(-0.9, 0.3, (2, 5, 8, 8)).astype(np.float32)
    images[:, 3] = -1
    return images


def test_the_hypotheses_differ_by_the_label_alone():
    drawn = hypotheses_volume(adds_half_where_enhancing, SCHEDULE, 1, condition(), seed=3)
    assert np.allclose((drawn.enhancing - drawn.non_enhancing)[[0, 1, 2, 4]], 0.5, atol=1e-5)


def test_a_volume_does_not_depend_on_the_batch_and_repeats_under_its_seed():
    once = hypotheses_volume(adds_half_where_enhancing, SCHEDULE, 3, condition(), seed=3)
    parts = hypotheses_volume(adds_half_where_enhancing, SCHEDULE, 3, condition(), seed=3, batch=2)
    other = hypotheses_volume(adds_half_where_enhancing, SCHEDULE, 3, condition(), seed=4)
    assert np.allclose(once.enhancing, parts.enhancing, atol=1e-6)
    assert not np.allclose(once.enhancing, other.enhancing, atol=1e-4)


def test_slices_without_brain_stay_background():
    drawn = hypotheses_volume(adds_half_where_enhancing, SCHEDULE, 1, condition(), seed=3)
    assert (drawn.enhancing[3] == -1).all()
    assert (drawn.tumour_probability[3] == 0).all()


def test_consistency_is_one_probability_a_slice():
    zeros = np.zeros((3, 4, 4), np.float32)
    t1gd = np.stack([np.full((4, 4), level, np.float32) for level in (-1.0, 0.0, 1.0)])
    found = consistency(lambda x: x[:, 2].mean(dim=(1, 2)), zeros, zeros, t1gd, batch=2)
    assert np.allclose(found, torch.sigmoid(torch.tensor([-1.0, 0, 1])).numpy())
    assert consistency(lambda x: x[:, 0, 0, 0], zeros[:0], zeros[:0], zeros[:0]).shape == (0,)
