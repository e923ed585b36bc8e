"""The optimiser of every stage: Adam with decoupled weight decay, fused where the device has a fused form."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn

FUSED_ON = {"cpu", "cuda"}


def adamw(
    parameters: Iterable[nn.Parameter],
    learning_rate: float,
    weight_decay: float,
    betas: tuple[float, float] = (0.9, 0.999),
) -> torch.optim.AdamW:
    """Return AdamW over `parameters`, which lie on one device."""
    held = list(parameters)
    fused = all(parameter.device.type in FUSED_ON and parameter.is_floating_point() for parameter in held)
    return torch.optim.AdamW(held, lr=learning_rate, betas=betas, weight_decay=weight_decay, fused=fused)
