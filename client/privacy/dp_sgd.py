"""DP-SGD with the patient as the unit: Poisson sampling, one clipped gradient a patient, noise (Abadi et al. 2016).

Who is drawn and what noise is added come from the operating system's entropy, never from the study's seed, which the
coordinator knows. The sum over nobody gets its noise like any other: whether a step moved tells nothing of who was
drawn. A patient whose gradient is not finite counts as zero, since to stop there would tell of that patient.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Sequence
from random import SystemRandom
from typing import TypeVar

import numpy as np
import torch
from scipy.special import ndtri
from torch import Tensor

Patient = TypeVar("Patient")

Gradient = list[Tensor]
"""One patient's gradient: a tensor for each weight of an optimiser, in its order."""


def poisson_batch(patients: Sequence[Patient], rate: float) -> list[Patient]:
    """Return the patients that a step draws, each by a lot of its own with probability `rate`; possibly nobody.

    Raises:
        ValueError: where `rate` is no probability above zero.
    """
    if not 0 < rate <= 1:
        raise ValueError(f"rate is {rate}; a sampling rate lies above 0 and is at most 1")
    lots = SystemRandom()
    return [patient for patient in patients if lots.random() < rate]


def fresh_generator() -> torch.Generator:
    """Return a generator that the operating system seeds: what one patient's row is drawn with depends on no other."""
    return torch.Generator().manual_seed(SystemRandom().getrandbits(63))


def trained_weights(optimiser: torch.optim.Optimizer) -> list[Tensor]:
    """Return the weights that `optimiser` moves."""
    return [weight for group in optimiser.param_groups for weight in group["params"] if weight.requires_grad]


def noisy_step(
    gradients: Iterable[Gradient],
    optimiser: torch.optim.Optimizer,
    clip_norm: float,
    noise_multiplier: float,
    expected: float,
) -> None:
    """Move `optimiser` by the drawn patients' clipped gradients, summed, with noise, over `expected`.

    Sum and noise are added in float64 and rounded once to the weights' float32 (docs/concepts/privacy.md says why).

    Args:
        gradients: one for each patient drawn; none where nobody was.
        clip_norm: largest norm of a patient's gradient.
        noise_multiplier: standard deviation of the noise in units of `clip_norm`.
        expected: what the sum is divided by: a number that does not depend on the patients.
    """
    weights = trained_weights(optimiser)
    sums = [torch.zeros_like(weight, dtype=torch.float64) for weight in weights]
    for gradient in gradients:
        share = _share(gradient, clip_norm)
        if share > 0:
            for total, part in zip(sums, gradient, strict=True):
                total += part.double() * share
    for weight, total in zip(weights, sums, strict=True):
        noise = system_noise(total.shape).to(total.device) * (noise_multiplier * clip_norm)
        weight.grad = ((total + noise) / expected).to(weight.dtype)
    optimiser.step()
    optimiser.zero_grad(set_to_none=True)


def one_by_one(
    drawn: Iterable[Patient], loss_of: Callable[[Patient], Tensor], optimiser: torch.optim.Optimizer
) -> Iterable[Gradient]:
    """Yield the gradient of each patient's loss: as many passes as patients, a form that every network allows."""
    weights = trained_weights(optimiser)
    for patient in drawn:
        loss = loss_of(patient)
        if not loss.requires_grad:
            yield [torch.zeros_like(weight) for weight in weights]
            continue
        found = torch.autograd.grad(loss, weights, allow_unused=True)
        yield [
            torch.zeros_like(weight) if gradient is None else gradient
            for weight, gradient in zip(weights, found, strict=True)
        ]


def system_noise(shape: torch.Size) -> Tensor:
    """Return standard normal float64 numbers of `shape` from the operating system's entropy.

    One bit for the sign, 63 for the probability of the tail: the largest is 9.1, beyond which lies less than 1e-19.
    """
    bits = np.frombuffer(os.urandom(8 * math.prod(shape)), dtype=np.uint64)
    tail = ((bits >> np.uint64(1)).astype(np.float64) + 0.5) / 2.0**64
    sign = np.where(bits & np.uint64(1), 1.0, -1.0)
    return torch.from_numpy(ndtri(tail) * sign).reshape(shape)


def _share(gradient: Gradient, clip_norm: float) -> float:
    """Return what a patient's gradient is multiplied by: at most 1, so that its norm is at most `clip_norm`."""
    norm = math.sqrt(sum(float(part.double().square().sum()) for part in gradient))
    if not math.isfinite(norm):
        return 0.0
    return min(1.0, clip_norm / norm) if norm else 1.0
