"""Both hypotheses over a volume: one noise, no dependence on batches, background kept."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import torch

from client.inference.drawing_plan import plan_of
from client.inference.synthesise import consistency, hypotheses_volume, with_neighbours
from common.generative.hypotheses import draw_hypotheses
from common.seeding import torch_generator
from common.sequences import Sequence
from common.settings.stages import SynthesiserStage


def plan(**settings):
    return plan_of(SynthesiserStage(diffusion_steps=50, **{"sampling_steps": 10, **settings}))


def adds_half_where_enhancing(x_t, t, condition, enhancing, availability):
    """T1 plus a half where the label says so, and a hundredth of the noisy input, so that the noise shows."""
    shift = enhancing[:, None, None, None] / 2
    return SimpleNamespace(image=condition[:, :1] + shift + x_t / 100, tumour_logits=condition[:, 1:])


def condition():
    images = np.random.default_rng(1).uniform(-0.9, 0.3, (2, 5, 8, 8)).astype(np.float32)
    images[:, 3] = -1
    return images


def test_the_hypotheses_differ_by_the_label_alone():
    drawn = hypotheses_volume(adds_half_where_enhancing, plan(sampling_steps=1), condition(), seed=3)
    assert np.allclose((drawn.enhancing - drawn.non_enhancing)[[0, 1, 2, 4]], 0.5, atol=1e-5)


def test_a_volume_does_not_depend_on_the_batch_and_repeats_under_its_seed():
    once = hypotheses_volume(adds_half_where_enhancing, plan(sampling_steps=3), condition(), seed=3)
    parts = hypotheses_volume(adds_half_where_enhancing, plan(sampling_steps=3), condition(), seed=3, batch=2)
    other = hypotheses_volume(adds_half_where_enhancing, plan(sampling_steps=3), condition(), seed=4)
    assert np.allclose(once.enhancing, parts.enhancing, atol=1e-6)
    assert not np.allclose(once.enhancing, other.enhancing, atol=1e-4)


def test_slices_without_brain_stay_background():
    drawn = hypotheses_volume(adds_half_where_enhancing, plan(sampling_steps=1), condition(), seed=3)
    assert (drawn.enhancing[3] == -1).all()
    assert (drawn.tumour_probability[3] == 0).all()


def test_consistency_is_one_probability_a_slice():
    zeros = np.zeros((3, 4, 4), np.float32)
    t1gd = np.stack([np.full((4, 4), level, np.float32) for level in (-1.0, 0.0, 1.0)])
    found = consistency(lambda x: x[:, 2].mean(dim=(1, 2)), zeros, zeros, t1gd, batch=2)
    assert np.allclose(found, torch.sigmoid(torch.tensor([-1.0, 0, 1])).numpy())
    assert consistency(lambda x: x[:, 0, 0, 0], zeros[:0], zeros[:0], zeros[:0]).shape == (0,)


def test_many_samples_give_their_mean_and_their_spread():
    one = plan(sampling_steps=2)
    drawn = hypotheses_volume(adds_half_where_enhancing, plan(sampling_steps=2, samples=3), condition(), seed=3)
    noise = [row.numpy() for row in samples_of(3, seed=3)]
    singles = [draw_from(one, row) for row in noise]
    inside = np.any(condition() > -1, axis=0)
    assert np.allclose(drawn.enhancing[inside], np.mean(singles, axis=0)[inside], atol=1e-6)
    assert np.allclose(drawn.enhancing_sd[inside], np.std(singles, axis=0, ddof=1)[inside], atol=1e-6)
    assert (drawn.enhancing_sd[~inside] == 0).all()
    assert drawn.enhancing_sd[inside].max() > 1e-4
    assert drawn.non_enhancing_sd.shape == drawn.enhancing.shape


def samples_of(count, seed):
    generator = torch_generator(seed, "hypotheses")
    return [torch.randn(1, 8, 8, generator=generator) for _ in range(count)]


def draw_from(settings, noise):
    """Draw the enhancing hypothesis of every slice from one noise slice, one by one."""
    pictures = []
    for number in range(5):
        images = torch.from_numpy(condition()[:, number])[None]
        codes = torch.ones(1, 2, dtype=torch.int64)
        drawn = draw_hypotheses(
            adds_half_where_enhancing, images, codes, torch.from_numpy(noise)[None], settings.sampler
        )
        pictures.append(drawn.enhancing[0, 0].numpy())
    return np.stack(pictures)


def test_one_sample_has_no_spread_and_is_the_first_of_many():
    one = hypotheses_volume(adds_half_where_enhancing, plan(sampling_steps=2), condition(), seed=3)
    assert one.enhancing_sd is None and one.non_enhancing_sd is None
    assert np.allclose(one.enhancing[0], draw_from(plan(sampling_steps=2), samples_of(1, 3)[0].numpy())[0], atol=1e-6)


def test_samples_in_batches_equal_samples_one_by_one():
    settings = plan(sampling_steps=2, samples=4)
    together, apart = (
        hypotheses_volume(adds_half_where_enhancing, settings, condition(), seed=3, batch=batch) for batch in (64, 1)
    )
    assert np.allclose(together.enhancing, apart.enhancing, atol=1e-6)
    assert np.allclose(together.enhancing_sd, apart.enhancing_sd, atol=1e-6)
    assert np.allclose(together.tumour_probability, apart.tumour_probability, atol=1e-6)


def test_neighbouring_slices_are_channels_around_their_own():
    rows = np.array([0, 2])
    stack = with_neighbours(condition(), rows, 3)
    assert stack.shape == (2, 6, 8, 8)
    assert (stack[0, [0, 3]] == -1).all()
    assert np.array_equal(stack[1, :3], condition()[0, 1:4])
    assert np.array_equal(stack[:, [1, 4]], condition()[:, rows].transpose(1, 0, 2, 3))
    assert np.array_equal(with_neighbours(condition(), rows, 1), condition()[:, rows].transpose(1, 0, 2, 3))


def test_the_model_hears_what_each_condition_is():
    heard = []

    def model(x_t, t, condition, enhancing, availability):
        heard.append(availability.unique(dim=0).tolist())
        return adds_half_where_enhancing(x_t, t, condition, enhancing, availability)

    hypotheses_volume(model, plan(sampling_steps=1), condition(), seed=3, availability=(2, 1))
    assert heard == [[[2, 1]]]


def test_a_difference_is_added_to_the_middle_slice_of_t1():
    settings = plan(sampling_steps=1, target="difference", slices=3, conditions=("FLAIR", "T1"))

    def model(x_t, t, condition, enhancing, availability):
        return SimpleNamespace(image=0.1 * enhancing[:, None, None, None].expand_as(x_t), tumour_logits=x_t)

    drawn = hypotheses_volume(model, settings, condition(), seed=3)
    inside = np.any(condition() > -1, axis=0)
    assert np.allclose(drawn.non_enhancing[inside], condition()[1][inside], atol=1e-6)
    assert np.allclose((drawn.enhancing - drawn.non_enhancing)[inside], 0.1, atol=1e-6)


def test_a_plan_draws_without_a_condition_only_where_training_did():
    t1, flair = Sequence.T1, Sequence.FLAIR
    strict, lenient = plan(), plan(condition_dropout=0.2)
    based = plan(condition_dropout=0.2, target="difference")
    assert [each.can_draw(frozenset({flair})) for each in (strict, lenient, based)] == [False, True, False]
    assert [each.can_draw(frozenset({t1})) for each in (strict, lenient, based)] == [False, True, True]
    assert [each.can_draw(frozenset({t1, flair})) for each in (strict, lenient, based)] == [True, True, True]
    assert not lenient.can_draw(frozenset())
