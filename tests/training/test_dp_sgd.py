"""Laws of DP-SGD by patients."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from client.privacy.dp_sgd import noisy_step, one_by_one, poisson_batch, system_noise


def moved_by(
    gradients: list[list[float]], clip: float = 1.0, noise: float = 0.0, expected: float = 1.0
) -> torch.Tensor:
    """Return how far plain descent at rate 1 moves a weight of zeros."""
    weight = nn.Parameter(torch.zeros(len(gradients[0]) if gradients else 2))
    noisy_step([[torch.tensor(each)] for each in gradients], torch.optim.SGD([weight], lr=1.0), clip, noise, expected)
    return -weight.detach()


def test_each_patient_is_drawn_by_a_lot_of_its_own() -> None:
    drawn = [len(poisson_batch(range(1000), 0.1)) for _ in range(20)]
    assert abs(sum(drawn) / 20 - 100) < 15  # seven standard errors
    assert len(set(drawn)) > 1
    assert poisson_batch(range(3), 1.0) == [0, 1, 2]


@pytest.mark.parametrize("rate", [0.0, 1.5, -0.1])
def test_a_rate_that_is_no_probability_is_refused(rate: float) -> None:
    with pytest.raises(ValueError, match="above 0"):
        poisson_batch([1], rate)


def test_a_draw_of_nobody_moves_by_noise_alone_as_the_accountant_assumes() -> None:
    moved = torch.stack([moved_by([], noise=2.0, expected=4.0) for _ in range(500)])
    assert float(moved.std()) == pytest.approx(2.0 / 4.0, rel=0.15)  # six standard errors
    assert torch.equal(moved_by([], noise=0.0), torch.zeros(2))


def test_no_patient_moves_more_than_the_clip_allows() -> None:
    loud, quiet = [1000.0, 0.0], [0.0, 0.5]
    assert moved_by([loud, quiet], expected=2.0).tolist() == pytest.approx([1.0 / 2, 0.5 / 2])


@pytest.mark.parametrize("drawn", [0, 1, 5])
def test_one_patient_more_changes_the_sum_by_at_most_the_clip(drawn: int) -> None:
    torch.manual_seed(drawn)
    others = (10 * torch.randn(drawn, 3)).tolist() or []
    one = (100 * torch.randn(3)).tolist()
    without = moved_by(others, clip=0.7) if others else torch.zeros(3)
    assert float((moved_by([*others, one], clip=0.7) - without).norm()) <= 0.7 + 1e-6


def test_clipping_by_patients_is_that_of_a_plain_loop() -> None:
    torch.manual_seed(1)
    net = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1))
    rows, before = torch.randn(6, 3), [weight.detach().clone() for weight in net.parameters()]
    total = [torch.zeros_like(weight) for weight in net.parameters()]
    for row in rows:
        net.zero_grad()
        net(row).square().sum().backward()
        norm = math.sqrt(sum(float(weight.grad.square().sum()) for weight in net.parameters()))
        for each, weight in zip(total, net.parameters(), strict=True):
            each += weight.grad * min(1.0, 0.1 / norm)
    optimiser = torch.optim.SGD(net.parameters(), lr=1.0)
    noisy_step(one_by_one(rows, lambda row: net(row).square().sum(), optimiser), optimiser, 0.1, 0.0, expected=2.0)
    for weight, start, wanted in zip(net.parameters(), before, total, strict=True):
        assert torch.allclose(start - weight, wanted / 2, atol=1e-7)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_patient_whose_gradient_is_not_finite_counts_as_zero(value: float) -> None:
    assert moved_by([[value, 1.0], [0.3, 0.0]]).tolist() == pytest.approx([0.3, 0.0])


def test_a_loss_that_no_weight_touches_is_a_gradient_of_zero() -> None:
    weight = nn.Parameter(torch.zeros(2))
    optimiser = torch.optim.SGD([weight], lr=1.0)
    (gradient,) = one_by_one(["silent"], lambda patient: torch.zeros(()), optimiser)
    assert torch.equal(gradient[0], torch.zeros(2))


def test_the_noise_has_the_clip_times_the_multiplier_as_its_deviation() -> None:
    weight = nn.Parameter(torch.zeros(20_000))
    noisy_step([[torch.zeros(20_000)]], torch.optim.SGD([weight], lr=1.0), 3.0, 2.0, 4.0)
    assert float(weight.detach().std()) == pytest.approx(3.0 * 2.0 / 4.0, rel=0.05)
    assert abs(float(weight.detach().mean())) < 0.06


def test_the_noise_is_normal_and_follows_no_seed() -> None:
    torch.manual_seed(0)
    first = system_noise(torch.Size([50_000]))
    torch.manual_seed(0)
    assert not torch.equal(first, system_noise(torch.Size([50_000])))
    assert float(first.mean()) == pytest.approx(0, abs=0.03) and float(first.std()) == pytest.approx(1, abs=0.02)
    assert float((first.abs() > 1.959964).double().mean()) == pytest.approx(0.05, abs=0.006)
    assert first.dtype == torch.float64
