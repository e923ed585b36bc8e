"""Laws of DP-SGD by patients."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from client.privacy.dp_sgd import poisson_batch, private_step, system_noise
from client.training.trainer import NonFiniteLossError


def weight_and_adam() -> tuple[nn.Parameter, torch.optim.Optimizer]:
    weight = nn.Parameter(torch.tensor([1.0, 2.0]))
    optimiser = torch.optim.Adam([weight], lr=0.1)
    weight.square().sum().backward()
    optimiser.step()
    return weight, optimiser


def test_each_patient_is_drawn_by_a_lot_of_its_own() -> None:
    drawn = [len(poisson_batch(range(1000), 0.1)) for _ in range(20)]
    assert abs(sum(drawn) / 20 - 100) < 15  # seven standard errors
    assert len(set(drawn)) > 1
    assert poisson_batch(range(3), 1.0) == [0, 1, 2]


@pytest.mark.parametrize("rate", [0.0, 1.5, -0.1])
def test_a_rate_that_is_no_probability_is_refused(rate: float) -> None:
    with pytest.raises(ValueError, match="above 0"):
        poisson_batch([1], rate)


def test_an_empty_draw_leaves_weights_and_optimiser_as_they_are() -> None:
    weight, optimiser = weight_and_adam()
    before = weight.detach().clone()
    state = {key: value.clone() for key, value in optimiser.state[weight].items()}
    assert not private_step([], lambda patient: weight.sum(), optimiser, 1.0, 1.0, expected=2.0)
    assert torch.equal(weight, before)
    assert all(torch.equal(optimiser.state[weight][key], value) for key, value in state.items())


def test_no_patient_moves_more_than_the_clip_allows() -> None:
    weight = nn.Parameter(torch.zeros(2))
    optimiser = torch.optim.SGD([weight], lr=1.0)
    pull = {"loud": 1000.0, "quiet": 0.5}
    assert private_step(["loud", "quiet"], lambda p: pull[p] * weight[0], optimiser, 1.0, 0.0, expected=2.0)
    assert weight[0].item() == pytest.approx(-(1.0 + 0.5) / 2)


def test_the_noise_has_the_clip_times_the_multiplier_as_its_deviation() -> None:
    weight = nn.Parameter(torch.zeros(20_000))
    optimiser = torch.optim.SGD([weight], lr=1.0)
    private_step(["silent"], lambda patient: 0 * weight.sum(), optimiser, 3.0, 2.0, expected=4.0)
    assert float(weight.detach().std()) == pytest.approx(3.0 * 2.0 / 4.0, rel=0.05)
    assert abs(float(weight.detach().mean())) < 0.06


def test_the_noise_follows_no_seed() -> None:
    torch.manual_seed(0)
    first = system_noise(torch.Size([4]))
    torch.manual_seed(0)
    assert not torch.equal(first, system_noise(torch.Size([4])))


def test_a_gradient_that_is_not_finite_moves_nothing() -> None:
    weight = nn.Parameter(torch.zeros(2))
    optimiser = torch.optim.SGD([weight], lr=1.0)
    with pytest.raises(NonFiniteLossError):
        private_step(["bad"], lambda patient: weight.sum() * float("nan"), optimiser, 1.0, 1.0, expected=1.0)
    assert torch.equal(weight.detach(), torch.zeros(2))
