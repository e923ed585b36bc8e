"""Gradient inversion: the image that a patient's update was computed from, sought by whoever sees the update.

Geiping 2020 (Inverting Gradients, eq. 4): the image whose own gradient points the same way as the update, among smooth
ones; signed gradient descent by Adam. The attacker knows the network, its weights before the update, and the label.
For a network that begins with one linear layer no search is needed: its gradient is the image times its bias's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from common.metrics.fidelity import measure, to_greys

Loss = Callable[[Tensor], Tensor]
"""From images (B, C, H, W) to a loss, under the weights that the attacker knows."""

LEARNING_RATE = 0.1


@dataclass(frozen=True)
class Resemblance:
    """How close a recovered image comes inside the brain: correlation of its greys, PSNR in dB, and SSIM."""

    correlation: float
    psnr_db: float
    ssim: float


def gradient_of(loss: Tensor, model: nn.Module, differentiable: bool = False) -> list[Tensor]:
    """Return the gradient of a loss in every parameter of the model."""
    found = torch.autograd.grad(loss, list(model.parameters()), create_graph=differentiable)
    return [part if differentiable else part.detach() for part in found]


def read_off(weight_gradient: Tensor, bias_gradient: Tensor) -> Tensor:
    """Return the input of a linear layer, (inputs,), from its gradients of one patient, (outputs, inputs), (outputs,).

    Exact wherever any output's bias has a gradient: the one that has the largest is taken.
    """
    row = int(bias_gradient.abs().argmax())
    return weight_gradient[row] / bias_gradient[row]


def invert(
    update: list[Tensor],
    model: nn.Module,
    loss: Loss,
    shape: tuple[int, ...],
    generator: torch.Generator,
    steps: int = 600,
    smoothness: float = 1e-2,
) -> Tensor:
    """Return the image of `shape`, (1, C, H, W) in [-1, 1], whose gradient points most like `update`.

    Args:
        update: a gradient by parameter, of whatever scale.
        model: with the weights before the update.
        loss: of the model on images.
        generator: of the first guess.
        steps: of the search; its rate is divided by ten after 3/8, 5/8 and 7/8 of them.
        smoothness: weight of the total variation.
    """
    guess = torch.randn(shape, generator=generator).mul_(0.1).requires_grad_(True)
    search = torch.optim.Adam([guess], lr=LEARNING_RATE)
    falls = [steps * part // 8 for part in (3, 5, 7)]
    rate = torch.optim.lr_scheduler.MultiStepLR(search, falls, gamma=0.1)
    for _ in range(steps):
        mine = gradient_of(loss(guess), model, differentiable=True)
        objective = _angle(mine, update) + smoothness * _variation(guess)
        (slope,) = torch.autograd.grad(objective, [guess])
        guess.grad = slope.sign()
        search.step()
        rate.step()
        with torch.no_grad():
            guess.clamp_(-1, 1)
    return guess.detach()


def resemblance(found: Tensor, truth: Tensor, brain: Tensor) -> Resemblance:
    """Compare a recovered image with the true one, both (C, H, W) in [-1, 1], inside the brain, (H, W) bool.

    Outside all brains are black, and any head of about the right shape would look like the true one.
    """
    inside = brain.expand(truth.shape).numpy()
    greys, wanted = to_greys(found.numpy()), to_greys(truth.numpy())
    same = measure(greys, wanted, inside)
    if same is None:
        raise ValueError("the image shows no brain")
    varies = greys[inside].std() > 0 and wanted[inside].std() > 0
    correlation = float(np.corrcoef(greys[inside], wanted[inside])[0, 1]) if varies else 0.0
    return Resemblance(correlation, same.psnr_db, same.ssim)


def _angle(mine: list[Tensor], update: list[Tensor]) -> Tensor:
    """Return one minus the cosine between two gradients."""
    product = torch.stack([(a * b).sum() for a, b in zip(mine, update, strict=True)]).sum()
    lengths = [torch.stack([part.square().sum() for part in parts]).sum().sqrt() for parts in (mine, update)]
    return 1 - product / (lengths[0] * lengths[1] + 1e-12)


def _variation(image: Tensor) -> Tensor:
    """Return the mean absolute difference of neighbouring pixels."""
    return (image[..., 1:, :] - image[..., :-1, :]).abs().mean() + (image[..., 1:] - image[..., :-1]).abs().mean()
