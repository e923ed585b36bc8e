"""Gradient inversion: the plain update of one patient is that patient's image; noise at the clip's size hides it."""

import numpy as np
import pytest
import torch

from simulations.attacks.gradient_inversion import read_off, resemblance
from simulations.attacks.inversion_trials import UPDATES, searched
from simulations.attacks.updates import Shown, loss_of, made_private, many_steps, one_step
from simulations.attacks.victims import LinearVictim, SmallCnn

H, W = 16, 20


def heads(count, seed):
    """Ellipses of brain under bumps that are each patient's own, three channels."""
    generator = np.random.default_rng(seed)
    h, w = np.meshgrid(np.linspace(-1, 1, H), np.linspace(-1, 1, W), indexing="ij")
    brain = h**2 + w**2 < 0.8
    waves = [sum(np.sin(4 * (a * h + b * w) + c) for a, b, c in generator.normal(0, 1, (6, 3))) for _ in range(count)]
    images = [[np.where(brain, np.clip(sign * wave / 6, -1, 1), -1) for sign in (1, -1, 1)] for wave in waves]
    brains = torch.from_numpy(np.stack([brain] * count))
    answers = torch.tensor([1.0, 0.0, 1.0, 1.0, 0.0] * 4)[:count]
    return Shown(torch.tensor(np.array(images), dtype=torch.float32), answers, brains)


def test_the_update_of_a_linear_layer_is_the_patients_image_itself():
    shown = heads(1, seed=1)
    image = read_off(*one_step(LinearVictim(3, H, W), shown)).reshape(3, H, W)
    assert torch.allclose(image, shown.images[0], atol=1e-4)


def test_the_linear_layers_update_of_two_patients_of_one_label_is_a_mixture_of_both():
    shown = heads(4, seed=1).of([0, 2])
    image = read_off(*one_step(LinearVictim(3, H, W), shown)).reshape(3, H, W)
    closest = max(resemblance(image, each, shown.brain[0]).correlation for each in shown.images)
    assert closest < 0.99


def test_clipping_alone_hides_nothing_for_the_direction_stays():
    plain = one_step(SmallCnn(3, H, W), heads(1, seed=1))
    clipped = made_private(plain, clip_norm=1e-3, noise_multiplier=0.0)
    ratios = torch.cat([(a / b)[b != 0].flatten() for a, b in zip(clipped, plain, strict=True)])
    assert torch.allclose(ratios, ratios[0], rtol=1e-3)
    assert float(torch.cat([part.flatten() for part in clipped]).norm()) == pytest.approx(1e-3, rel=1e-3)


def test_one_step_of_descent_moves_the_weights_along_the_gradient():
    model, shown = SmallCnn(3, H, W), heads(1, seed=1)
    moved = many_steps(model, shown, 1, 1, 0.5, torch.Generator().manual_seed(0))
    for change, gradient in zip(moved, one_step(model, shown), strict=True):
        assert torch.allclose(change, 0.5 * gradient, atol=1e-6)
    assert loss_of(model, shown.images, shown.answers).requires_grad  # the model itself did not move


def test_one_patient_in_the_clear_is_recovered_and_under_noise_is_not():
    shown, reference, model = heads(1, seed=1), heads(12, seed=2).images.mean(0), SmallCnn(3, H, W)
    plain, private = (
        searched("small CNN", name, model, UPDATES[name][1], shown, reference, seed=3, steps=100)
        for name in ("one patient, one step", "one patient, clipped, noise 1")
    )
    assert plain.recovered.correlation > 0.9 > 0.5 > plain.reference.correlation
    assert abs(private.recovered.correlation) < 0.3 and private.recovered.ssim < 0.3
