"""The adversarial game of StarGAN-v2 / UMMGAT: non-saturating losses, the R1 penalty on real pictures, diversity."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def discriminator_loss(real_logits: Tensor, drawn_logits: Tensor) -> Tensor:
    """Mean of `softplus(-D(real))` plus mean of `softplus(D(drawn))`; logits (B,) each."""
    return F.softplus(-real_logits).mean() + F.softplus(drawn_logits).mean()


def generator_loss(drawn_logits: Tensor) -> Tensor:
    """Non-saturating loss of the generator, mean of `softplus(-D(drawn))`; logits (B,)."""
    return F.softplus(-drawn_logits).mean()


def r1_penalty(real_logits: Tensor, real: Tensor) -> Tensor:
    """Half the mean squared norm of the gradient of D at real pictures (Mescheder 2018, eq. 9, gamma = 1).

    Args:
        real_logits: D(real), (B,), on the graph of `real`.
        real: pictures (B, 1, H, W) that require a gradient.
    """
    (gradient,) = torch.autograd.grad(real_logits.sum(), real, create_graph=True)
    return gradient.square().sum((1, 2, 3)).mean() / 2


def diversity_loss(drawn: Tensor, other: Tensor, brain: Tensor) -> Tensor:
    """Minus the mean distance, inside the brain, of two drawings in two styles of a domain (StarGAN-v2, eq. 3).

    Args:
        drawn, other: greys (B, 1, H, W); `other` is the fixed one of the two, as in StarGAN-v2's code.
        brain: mask (B, 1, H, W) bool.
    """
    return -((drawn - other.detach()).abs() * brain).sum() / brain.sum()
