"""Epsilon by our accountants against others: a closed form, a privacy-loss distribution of our own, and Google's."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import brentq
from scipy.signal import fftconvolve
from scipy.special import ndtr

from client.privacy.accountant import EPS_ERROR, Steps, epsilon_of, prv_epsilon, rdp_epsilon

GOOGLE = [
    ([Steps(1000, 0.01, 1.0)], 1e-5, 1.8282436455855091),
    ([Steps(1000, 0.1, 1.0)], 1e-5, 25.204555197953106),
    ([Steps(200, 0.1, 1.0), Steps(400, 0.05, 2.0)], 1e-5, 10.356446695223736),
    ([Steps(3, 0.5, 0.5)], 1e-5, 16.364054026509503),
]
"""What dp-accounting 0.6.0 (PLDAccountant, adding or removing one) said of these steps, on another installation."""


MESH = 5e-4
"""Step of our own distribution of the privacy loss, and what each loss is rounded up by at most."""


def gaussian_delta(epsilon: float, mu: float) -> float:
    """Return delta of a Gaussian mechanism of sensitivity over deviation `mu` (Balle & Wang 2018, theorem 8)."""
    return float(ndtr(mu / 2 - epsilon / mu) - np.exp(epsilon) * ndtr(-mu / 2 - epsilon / mu))


def exact_epsilon(steps: list[Steps], delta: float) -> float:
    """Return epsilon of steps that draw everybody: together they are one Gaussian mechanism."""
    mu = np.sqrt(sum(each.count / each.noise_multiplier**2 for each in steps))
    return float(brentq(lambda epsilon: gaussian_delta(epsilon, mu) - delta, 0, 500))


def loss_distribution(step: Steps, adding: bool, mesh: float, half: int) -> np.ndarray:
    """Return chances of a privacy loss on a mesh around 0, each loss rounded up: from P to Q, from Q to P if `adding`.

    P = (1 - q) N(0, s²) + q N(1, s²) and Q = N(0, s²) are what a step says with and without the patient.
    """
    q, s = step.sampling_rate, step.noise_multiplier
    x = np.linspace(-40 * s, 40 * s + 1, 2_000_001)
    loss = np.log1p(q * np.expm1((2 * x - 1) / (2 * s * s)))[1:]
    below, shifted = ndtr(x / s), ndtr((x - 1) / s)
    chance = np.diff(below if adding else (1 - q) * below + q * shifted)
    up = np.ceil((-np.concatenate([[np.log1p(-q)], loss[:-1]]) if adding else loss) / mesh).astype(int)
    return np.bincount(np.clip(up, -half, half) + half, weights=chance, minlength=2 * half + 1)


def followed_epsilon(steps: list[Steps], delta: float, mesh: float = MESH, half: int = 30_000) -> float:
    """Return an upper bound of epsilon, the larger of both directions, by convolving loss distributions."""
    found = []
    for adding in (False, True):
        total = np.zeros(2 * half + 1)
        total[half] = 1.0
        for step in steps:
            one = loss_distribution(step, adding, mesh, half)
            for _ in range(step.count):
                total = np.clip(fftconvolve(total, one, mode="same"), 0, None)
        losses = (np.arange(2 * half + 1) - half) * mesh

        def excess(epsilon: float, losses: np.ndarray = losses, total: np.ndarray = total) -> float:
            above = losses > epsilon
            return float((total[above] * -np.expm1(epsilon - losses[above])).sum()) - delta

        found.append(brentq(excess, 0, half * mesh) if excess(0) > 0 else 0.0)
    return max(found)


@pytest.mark.parametrize("steps", [[Steps(1, 1.0, 5.0)], [Steps(10, 1.0, 20.0), Steps(5, 1.0, 8.0)]])
def test_where_everybody_is_drawn_epsilon_is_at_least_the_exact_one_and_near_it(steps: list[Steps]) -> None:
    exact = exact_epsilon(steps, 1e-5)
    assert exact <= epsilon_of(steps, 1e-5) <= 1.15 * exact


def test_epsilon_is_that_of_a_loss_distribution_followed_in_both_directions() -> None:
    steps = [Steps(8, 0.25, 2.0), Steps(6, 0.05, 0.8)]
    followed, rounded_up = followed_epsilon(steps, 1e-5), MESH * sum(step.count for step in steps)
    assert followed - rounded_up <= epsilon_of(steps, 1e-5) <= followed + 2 * EPS_ERROR


@pytest.mark.parametrize(("steps", "delta", "epsilon"), GOOGLE)
def test_epsilon_is_googles_with_the_stated_error_added(steps: list[Steps], delta: float, epsilon: float) -> None:
    assert epsilon <= epsilon_of(steps, delta) <= epsilon + 2 * EPS_ERROR


def test_the_smaller_of_both_accountants_holds_and_rdp_is_the_larger() -> None:
    steps = [Steps(300, 0.05, 1.2)]
    assert epsilon_of(steps, 1e-5) == prv_epsilon(steps, 1e-5) < rdp_epsilon(steps, 1e-5)


def test_nothing_costs_nothing_and_more_steps_cost_more() -> None:
    assert epsilon_of([], 1e-5) == 0
    costs = [rdp_epsilon([Steps(count, 0.1, 1.0)], 1e-5) for count in (1, 10, 100)]
    assert costs == sorted(costs) and costs[0] < costs[-1]


def test_the_order_of_steps_and_how_they_are_counted_do_not_matter() -> None:
    apart = [Steps(20, 0.1, 1.0), Steps(10, 0.2, 2.0), Steps(30, 0.1, 1.0)]
    assert rdp_epsilon(apart, 1e-5) == rdp_epsilon([Steps(10, 0.2, 2.0), Steps(50, 0.1, 1.0)], 1e-5)


def test_where_the_loss_cannot_be_followed_rdp_alone_decides() -> None:
    steps = [Steps(100_000, 0.5, 0.5)]
    assert prv_epsilon(steps, 1e-5) is None
    assert epsilon_of(steps, 1e-5) == rdp_epsilon(steps, 1e-5) > 1000
