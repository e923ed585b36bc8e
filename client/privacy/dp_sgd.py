"""DP-SGD with the patient as the unit: Poisson sampling, one clipped gradient a patient, noise (Abadi 2016).

Who is drawn and what noise is added come from the operating system's entropy, never from the study's seed, which the
coordinator knows. Patients go through the network one by one, a form in which every network of ours can be trained;
docs/reference/private-training.md says which of Opacus' faster forms work for which.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from random import SystemRandom
from typing import TypeVar

import numpy as np
import torch
from scipy.special import ndtri
from torch import Tensor

from client.training.trainer import refuse_non_finite

Patient = TypeVar("Patient")


def poisson_batch(patients: Sequence[Patient], rate: float) -> list[Patient]:
    """Return the patients that a step draws, each by a lot of its own with probability `rate`; possibly nobody.

    Raises:
        ValueError: where `rate` is no probability above zero.
    """
    if not 0 < rate <= 1:
        raise ValueError(f"rate is {rate}; a sampling rate lies above 0 and is at most 1")
    lots = SystemRandom()
    return [patient for patient in patients if lots.random() < rate]


def private_step(
    drawn: Sequence[Patient],
    loss_of: Callable[[Patient], Tensor],
    optimiser: torch.optim.Optimizer,
    clip_norm: float,
    noise_multiplier: float,
    expected: float,
) -> bool:
    """Move `optimiser` by the noisy mean of the drawn patients' clipped gradients; say whether it moved.

    An empty draw leaves weights and optimiser as they are. Ordinary accounting assumes noise in that case too: not
    moving tells that nobody was drawn, so an accountant must add the chance of it, (1 - rate)^patients, to its delta
    (times 1 + e^epsilon) or choose a rate that makes it negligible.

    Args:
        drawn: patients of one `poisson_batch`.
        loss_of: the loss of one patient alone, a scalar.
        clip_norm: largest norm of a patient's gradient.
        noise_multiplier: standard deviation of the noise in units of `clip_norm`.
        expected: patients that a step draws on average (rate x patients), by which the sum is divided.
    Raises:
        NonFiniteLossError: before the optimiser moves, where a patient's loss or gradient is not finite.
    """
    if not drawn:
        return False
    weights = [weight for group in optimiser.param_groups for weight in group["params"] if weight.requires_grad]
    sums = [torch.zeros_like(weight) for weight in weights]
    for patient in drawn:
        gradients = _gradients(loss_of(patient), weights)
        norm = float(torch.stack([gradient.norm() for gradient in gradients]).norm())
        refuse_non_finite({"gradient": norm})
        for total, gradient in zip(sums, gradients, strict=True):
            total += gradient * min(1.0, clip_norm / norm if norm else 1.0)
    for weight, total in zip(weights, sums, strict=True):
        noise = system_noise(total.shape).to(total) * (noise_multiplier * clip_norm)
        weight.grad = (total + noise) / expected
    optimiser.step()
    optimiser.zero_grad(set_to_none=True)
    return True


def system_noise(shape: torch.Size) -> Tensor:
    """Return standard normal float32 numbers of `shape` from the operating system's entropy."""
    count = math.prod(shape)
    bits = np.frombuffer(os.urandom(8 * count), dtype=np.uint64) >> np.uint64(11)
    uniform = (bits.astype(np.float64) + 0.5) / 2.0**53
    return torch.from_numpy(ndtri(uniform).astype(np.float32)).reshape(shape)


def _gradients(loss: Tensor, weights: list[Tensor]) -> list[Tensor]:
    """Return the gradient of one patient's loss, zero where it does not depend on a weight."""
    refuse_non_finite({"loss": float(loss.detach())})
    if not loss.requires_grad:
        return [torch.zeros_like(weight) for weight in weights]
    found = torch.autograd.grad(loss, weights, allow_unused=True)
    return [
        torch.zeros_like(weight) if gradient is None else gradient
        for weight, gradient in zip(weights, found, strict=True)
    ]
