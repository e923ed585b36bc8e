"""Laws of the noise schedule, the forward process, its three predictions, and DDIM."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from common.generative.ddim import sample, sampling_steps
from common.generative.diffusion import (
    add_noise,
    image_from_noise,
    image_from_velocity,
    noise_from_image,
    noise_from_velocity,
    velocity_of,
)
from common.generative.noise_schedule import NoiseSchedule, cosine_schedule, linear_schedule


def _double(schedule: NoiseSchedule) -> NoiseSchedule:
    return NoiseSchedule(schedule.alpha_bar.double())


def test_the_cosine_schedule_falls_from_image_to_noise() -> None:
    alpha_bar = cosine_schedule(1000).alpha_bar
    assert alpha_bar.shape == (1000,)
    assert bool((alpha_bar.diff() < 0).all())
    assert alpha_bar[0] > 0.999 and alpha_bar[-1] < 1e-6
    assert alpha_bar[499].item() == pytest.approx(0.4938, abs=1e-3)  # cos² at half time with offset 0.008


@pytest.mark.parametrize("steps", [1000, 2000])
def test_the_linear_schedule_falls_as_its_betas_say_and_as_far_with_fewer_steps(steps: int) -> None:
    alpha_bar = linear_schedule(steps).alpha_bar
    assert alpha_bar[0].item() == pytest.approx(1 - 1e-3 * 2000 / steps)
    assert alpha_bar[steps // 2].log().item() == pytest.approx(-(0.001 + 0.0255) / 2 * 1000, rel=0.05)
    assert bool((alpha_bar.diff() < 0).all()) and alpha_bar[-1] < 1e-6


def test_image_and_noise_scales_keep_unit_variance() -> None:
    schedule = cosine_schedule(100)
    t = torch.arange(100)
    total = schedule.image_scale(t) ** 2 + schedule.noise_scale(t) ** 2
    assert torch.allclose(total, torch.ones_like(total), atol=1e-6)


def test_the_forward_process_equals_step_by_step_noising_in_mean_and_variance() -> None:
    schedule = _double(cosine_schedule(50))
    mean, variance = 1.0, 0.0
    before = 1.0
    for t in range(20):
        keep = schedule.alpha_bar[t].item() / before
        mean, variance = mean * keep**0.5, variance * keep + 1 - keep
        before = schedule.alpha_bar[t].item()
    at = torch.tensor([19])
    assert mean == pytest.approx(schedule.image_scale(at).item(), rel=1e-9)
    assert variance == pytest.approx(schedule.noise_scale(at).item() ** 2, rel=1e-9)


def test_noise_image_and_velocity_name_the_same_thing(rng: torch.Generator) -> None:
    schedule = _double(cosine_schedule(1000))
    image, noise = (torch.randn(5, 1, 4, 4, generator=rng, dtype=torch.float64) for _ in range(2))
    t = torch.tensor([0, 10, 500, 900, 990])
    x_t = add_noise(image, noise, t, schedule)
    velocity = velocity_of(image, noise, t, schedule)
    assert torch.allclose(noise_from_image(x_t, image, t, schedule), noise, atol=1e-9)
    assert torch.allclose(image_from_noise(x_t, noise, t, schedule), image, atol=1e-9)
    assert torch.allclose(image_from_velocity(x_t, velocity, t, schedule), image, atol=1e-9)
    assert torch.allclose(noise_from_velocity(x_t, velocity, t, schedule), noise, atol=1e-9)


def test_sampling_steps_start_at_the_last_step_and_fall_evenly() -> None:
    assert sampling_steps(1000, 4) == (999, 749, 499, 249)
    assert sampling_steps(10, 10) == (9, 8, 7, 6, 5, 4, 3, 2, 1, 0)
    assert sampling_steps(1000, 1) == (999,)
    with pytest.raises(ValueError, match="11 sampling steps"):
        sampling_steps(10, 11)


@pytest.mark.parametrize("steps", [1, 2, 10])
def test_ddim_with_an_oracle_returns_its_image_along_the_closed_form(steps: int, rng: torch.Generator) -> None:
    schedule = _double(cosine_schedule(100))
    image, noise = (torch.randn(2, 1, 3, 3, generator=rng, dtype=torch.float64) for _ in range(2))
    first = torch.full((2,), 99)
    start = add_noise(image, noise, first, schedule)

    def oracle(x_t: Tensor, t: Tensor) -> Tensor:
        assert torch.allclose(x_t, add_noise(image, noise, t, schedule), atol=1e-9)
        return image

    assert torch.equal(sample(oracle, start, schedule, steps), image)


def test_ddim_maps_noise_to_a_gaussian_with_its_mean_and_spread() -> None:
    """With the exact posterior mean of N(m, s²) the deterministic sampler is the map z → m + s z."""
    schedule = _double(cosine_schedule(1000))
    mean, spread = 0.3, 0.5

    def posterior_mean(x_t: Tensor, t: Tensor) -> Tensor:
        a, b = schedule.image_scale(t), schedule.noise_scale(t)
        return mean + a * spread**2 / (a**2 * spread**2 + b**2) * (x_t - a * mean)

    z = torch.tensor([-1.0, 0.0, 1.0], dtype=torch.float64)[:, None, None, None]
    drawn = sample(posterior_mean, z, schedule, 1000).flatten()
    assert torch.allclose(drawn, torch.tensor([-0.2, 0.3, 0.8], dtype=torch.float64), atol=1e-3)
    again = sample(posterior_mean, z, schedule, 1000).flatten()
    assert torch.equal(drawn, again)
