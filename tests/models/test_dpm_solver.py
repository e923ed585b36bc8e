"""Laws of DPM-Solver++: the map that the analytic score gives, its second order, its grid."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from common.generative import ddim, dpm_solver
from common.generative.diffusion import add_noise
from common.generative.noise_schedule import NoiseSchedule, cosine_schedule, linear_schedule
from common.generative.samplers import DiffusionSampler

MEAN, SPREAD = 0.1, 0.3
SCHEDULE = NoiseSchedule(cosine_schedule(1000).alpha_bar.double())


def posterior_mean(x_t: Tensor, t: Tensor) -> Tensor:
    """The exact image predictor where images are N(MEAN, SPREAD²)."""
    a, b = SCHEDULE.image_scale(t), SCHEDULE.noise_scale(t)
    return MEAN + a * SPREAD**2 / (a**2 * SPREAD**2 + b**2) * (x_t - a * MEAN)


def error(sample: Callable[[Tensor], Tensor]) -> float:
    """Return how far a sampler is from the map z → MEAN + SPREAD z, at z = 1."""
    drawn = sample(torch.ones(1, 1, 1, 1, dtype=torch.float64))
    return abs(drawn.item() - MEAN - SPREAD)


def test_many_steps_give_the_map_of_the_analytic_score() -> None:
    assert error(lambda z: dpm_solver.sample(posterior_mean, z, SCHEDULE, 200)) < 1e-3


def test_twice_the_steps_err_a_quarter_and_ddim_half() -> None:
    second = [error(lambda z, n=n: dpm_solver.sample(posterior_mean, z, SCHEDULE, n)) for n in (10, 20)]
    first = [error(lambda z, n=n: ddim.sample(posterior_mean, z, SCHEDULE, n)) for n in (10, 20)]
    assert second[0] / second[1] == pytest.approx(4, rel=0.1)
    assert first[0] / first[1] == pytest.approx(2, rel=0.1)
    assert second[1] < first[1] / 5


def test_an_oracle_is_followed_along_the_closed_form(rng: torch.Generator) -> None:
    image, noise = (torch.randn(2, 1, 3, 3, generator=rng, dtype=torch.float64) for _ in range(2))
    start = add_noise(image, noise, torch.full((2,), 999), SCHEDULE)

    def oracle(x_t: Tensor, t: Tensor) -> Tensor:
        assert torch.allclose(x_t, add_noise(image, noise, t, SCHEDULE), atol=1e-9)
        return image

    assert torch.equal(dpm_solver.sample(oracle, start, SCHEDULE, 7), image)


def test_one_and_two_steps_on_the_same_grid_are_those_of_ddim(rng: torch.Generator) -> None:
    z = torch.randn(3, 1, 2, 2, generator=rng, dtype=torch.float64)
    one = dpm_solver.sample(posterior_mean, z, SCHEDULE, 1)
    assert torch.equal(one, ddim.sample(posterior_mean, z, SCHEDULE, 1))
    first, last = dpm_solver.sampling_steps(SCHEDULE, 2)
    begun = torch.full((3,), first)
    image = posterior_mean(z, begun)
    implied = (z - SCHEDULE.image_scale(begun) * image) / SCHEDULE.noise_scale(begun)
    following = torch.full((3,), last)
    by_hand = posterior_mean(add_noise(image, implied, following, SCHEDULE), following)
    assert torch.allclose(dpm_solver.sample(posterior_mean, z, SCHEDULE, 2), by_hand, atol=1e-9)


@pytest.mark.parametrize("schedule", [cosine_schedule(1000), linear_schedule(2000), cosine_schedule(10)])
def test_the_grid_falls_from_the_last_step_to_a_hundredth(schedule: NoiseSchedule) -> None:
    grid = dpm_solver.sampling_steps(schedule, 10)
    assert grid[0] == schedule.steps - 1
    assert grid[-1] == max(0, schedule.steps // 100 - 1)
    assert list(grid) == sorted(set(grid), reverse=True) and len(grid) <= 10
    with pytest.raises(ValueError, match="sampling steps of"):
        dpm_solver.sampling_steps(schedule, schedule.steps + 1)


def test_the_studys_sampler_is_the_one_that_draws() -> None:
    z = torch.ones(1, 1, 1, 1)
    drawn = DiffusionSampler(SCHEDULE, 20, method="dpm")(posterior_mean, z)
    assert drawn.item() == pytest.approx(MEAN + SPREAD, abs=0.005)
    assert DiffusionSampler(SCHEDULE, 20)(posterior_mean, z).item() == pytest.approx(MEAN + SPREAD - 0.033, abs=0.005)
