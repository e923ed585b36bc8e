"""Laws of drawing: the three families against maps that are known, the flow's line, and the solvers' orders."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from common.generative import flow
from common.generative.ddim import sample
from common.generative.diffusion import add_noise, image_from, target_of
from common.generative.noise_schedule import NoiseSchedule, cosine_schedule
from common.generative.ode import EVALUATIONS, integrate
from common.generative.samplers import DiffusionSampler, DirectSampler, FlowSampler

MEAN, SPREAD = 0.1, 0.3
PREDICTIONS = ("image", "noise", "velocity")


def doubled(schedule: NoiseSchedule) -> NoiseSchedule:
    return NoiseSchedule(schedule.alpha_bar.double())


def posterior_mean(x_t: Tensor, t: Tensor, schedule: NoiseSchedule) -> Tensor:
    """The exact image predictor where images are N(MEAN, SPREAD²): by Tweedie, the analytic score."""
    a, b = schedule.image_scale(t), schedule.noise_scale(t)
    return MEAN + a * SPREAD**2 / (a**2 * SPREAD**2 + b**2) * (x_t - a * MEAN)


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_what_a_network_should_say_leads_back_to_the_image(prediction: str, rng: torch.Generator) -> None:
    schedule = doubled(cosine_schedule(1000))
    image, noise = (torch.randn(4, 1, 4, 4, generator=rng, dtype=torch.float64) for _ in range(2))
    t = torch.tensor([0, 10, 500, 990])
    x_t = add_noise(image, noise, t, schedule)
    said = target_of(prediction, image, noise, t, schedule)  # type: ignore[arg-type]
    assert torch.allclose(image_from(prediction, said, x_t, t, schedule), image, atol=1e-9)  # type: ignore[arg-type]


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_all_predictions_of_the_same_gaussian_draw_the_same_pictures(prediction: str) -> None:
    schedule = doubled(cosine_schedule(1000))

    def network(x_t: Tensor, t: Tensor) -> Tensor:
        image = posterior_mean(x_t, t, schedule)
        implied = (x_t - schedule.image_scale(t) * image) / schedule.noise_scale(t)
        return target_of(prediction, image, implied, t, schedule).double()  # type: ignore[arg-type]

    z = torch.tensor([-1.0, 0.0, 1.0], dtype=torch.float64)[:, None, None, None]
    drawn = DiffusionSampler(schedule, 1000, prediction)(network, z).flatten()  # type: ignore[arg-type]
    assert torch.allclose(drawn.double(), (MEAN + SPREAD * z).flatten(), atol=1e-3)


def test_stochastic_sampling_keeps_the_gaussian(rng: torch.Generator) -> None:
    schedule = cosine_schedule(1000)
    z = torch.randn(20_000, 1, 1, 1, generator=rng)
    drawn = sample(lambda x, t: posterior_mean(x, t, schedule), z, schedule, 1000, eta=1.0, generator=rng)
    assert drawn.mean().item() == pytest.approx(MEAN, abs=0.01)
    assert drawn.std().item() == pytest.approx(SPREAD, abs=0.01)
    assert abs(torch.corrcoef(torch.stack([drawn.flatten(), z.flatten()]))[0, 1].item()) < 0.05


def test_fresh_noise_needs_its_generator() -> None:
    with pytest.raises(ValueError, match="generator"):
        sample(lambda x, t: x, torch.zeros(1, 1, 1, 1), cosine_schedule(10), 2, eta=0.5)


def test_a_flow_is_a_straight_line_from_noise_to_image(rng: torch.Generator) -> None:
    image, noise = (torch.randn(3, 1, 2, 2, generator=rng) for _ in range(2))
    assert torch.equal(flow.interpolate(image, noise, torch.zeros(3)), noise)
    assert torch.equal(flow.interpolate(image, noise, torch.ones(3)), image)
    t = torch.tensor([0.2, 0.5, 0.9])
    x_t, velocity = flow.interpolate(image, noise, t), flow.velocity_of(image, noise)
    assert torch.allclose(flow.image_from_velocity(x_t, velocity, t), image, atol=1e-5)


@pytest.mark.parametrize("solver", list(EVALUATIONS))
def test_the_flow_of_a_gaussian_is_the_affine_map_that_it_is_known_to_be(solver: str) -> None:
    """Images N(m, s²): the mean velocity at x_t is known, and following it takes z to m + s z."""

    def network(x_t: Tensor, time: Tensor) -> Tensor:
        return flow.gaussian_velocity(x_t, time / flow.TIME_SCALE, MEAN, SPREAD)

    z = torch.tensor([-1.0, 0.0, 1.0])[:, None, None, None]
    drawn = FlowSampler(solver, 1000 if solver == "euler" else 20)(network, z)  # type: ignore[arg-type]
    assert torch.allclose(drawn, MEAN + SPREAD * z, atol=1e-3)


def test_the_gaussian_velocity_is_the_mean_of_the_velocities_that_pass_there(rng: torch.Generator) -> None:
    """Regressed from samples: among lines through x_t near 0.2 at t = 0.6, the mean of image - noise."""
    noise, image = torch.randn(400_000, generator=rng), MEAN + SPREAD * torch.randn(400_000, generator=rng)
    passing = ((0.4 * noise + 0.6 * image) - 0.2).abs() < 0.02
    at = torch.full((1, 1, 1, 1), 0.2)
    expected = flow.gaussian_velocity(at, torch.tensor([0.6]), MEAN, SPREAD).item()
    assert (image - noise)[passing].mean().item() == pytest.approx(expected, abs=0.02)


def test_a_flow_that_is_learnt_recovers_a_known_affine_map(rng: torch.Generator) -> None:
    """Pairs (z, 0.5 z + 0.2): the least-squares velocity at each time is linear in x_t and gives the map back."""
    z = torch.randn(2000, generator=rng, dtype=torch.float64)
    image = 0.5 * z + 0.2
    velocity = flow.velocity_of(image, z)

    def network(x_t: Tensor, time: Tensor) -> Tensor:
        t = time[:1].double() / flow.TIME_SCALE
        seen = flow.interpolate(image[:, None, None, None], z[:, None, None, None], t.expand(2000)).flatten()
        design = torch.stack([seen, torch.ones_like(seen)], dim=1)
        slope, offset = torch.linalg.lstsq(design, velocity).solution
        return slope * x_t + offset

    start = torch.tensor([-1.0, 0.0, 1.0], dtype=torch.float64)[:, None, None, None]
    drawn = FlowSampler("rk4", 10)(network, start).flatten()
    assert torch.allclose(drawn.double(), torch.tensor([-0.3, 0.2, 0.7], dtype=torch.float64), atol=1e-5)


@pytest.mark.parametrize(("solver", "order"), [("euler", 1), ("midpoint", 2), ("rk4", 4), ("dopri5", 5)])
def test_a_solver_has_its_order_and_its_count_of_evaluations(solver: str, order: int) -> None:
    """dx/dt = x cos 3t, x(0) = 1: x(1) = exp(sin 3 / 3). Half the step, a 2^order-th of the error."""
    calls: list[float] = []

    def velocity(x: Tensor, t: Tensor) -> Tensor:
        calls.append(float(t))
        return x * torch.cos(3 * t).to(x)

    errors = []
    for steps in (4, 8):
        end = integrate(velocity, torch.ones(1, 1, 1, 1, dtype=torch.float64), solver, steps)  # type: ignore[arg-type]
        errors.append(abs(end.item() - math.exp(math.sin(3) / 3)))
    assert len(calls) == 12 * EVALUATIONS[solver] + 2 * (solver == "dopri5")  # type: ignore[index]
    assert errors[0] / errors[1] > 2**order * 0.6
    assert all(0 <= t <= 1 for t in calls)


def test_end_to_end_draws_in_one_evaluation_that_no_noise_reaches(rng: torch.Generator) -> None:
    seen: list[Tensor] = []

    def network(x_t: Tensor, t: Tensor) -> Tensor:
        seen.append(x_t)
        return x_t + t[:, None, None, None] + 3

    drawn = DirectSampler()(network, torch.randn(2, 1, 2, 2, generator=rng))
    assert len(seen) == 1 and not seen[0].any()
    assert torch.equal(drawn, torch.ones(2, 1, 2, 2))
