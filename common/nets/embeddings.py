"""Embeddings of time, of the enhancing-tumour label and of what is there, and how they modulate features (CBSI)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from common.nets.instance_norm import instance_norm

LONGEST_PERIOD = 10_000.0

MISSING, REAL, FILLED = 0, 1, 2
"""What a condition is: nothing (background is shown in its place), the patient's own, or drawn by the generator."""


def sinusoid(t: Tensor, channels: int) -> Tensor:
    """Return sines and cosines of t (B,) at geometric periods 2π … 2π · 10⁴, as (B, channels), channels even."""
    rate = torch.arange(channels // 2, device=t.device, dtype=torch.float32) / (channels // 2)
    phase = t.float()[:, None] * torch.exp(-math.log(LONGEST_PERIOD) * rate)
    return torch.cat([phase.sin(), phase.cos()], dim=1)


class TimeLabelEmbedding(nn.Module):
    """Time t and label δ (0 non-enhancing, 1 enhancing) → one code e + w, (B, channels); e alone where not labelled."""

    def __init__(self, sinusoid_channels: int, channels: int, labelled: bool = True) -> None:
        super().__init__()
        self.sinusoid_channels = sinusoid_channels
        self.time = nn.Sequential(nn.Linear(sinusoid_channels, channels), nn.SiLU(), nn.Linear(channels, channels))
        self.label = nn.Embedding(2, channels) if labelled else None

    def forward(self, t: Tensor, enhancing: Tensor) -> Tensor:
        code: Tensor = self.time(sinusoid(t, self.sinusoid_channels))
        return code if self.label is None else code + self.label(enhancing)


class AvailabilityEmbedding(nn.Module):
    """What each of C conditions is (`MISSING`, `REAL`, `FILLED`), (B, C) int64 → one code, (B, channels).

    Zero at first: an untrained network makes no difference between a real condition and a filled one.
    """

    def __init__(self, conditions: int, channels: int) -> None:
        super().__init__()
        self.codes = nn.Embedding(3 * conditions, channels)
        nn.init.zeros_(self.codes.weight)

    def forward(self, availability: Tensor) -> Tensor:
        first = 3 * torch.arange(availability.shape[1], device=availability.device)
        code: Tensor = self.codes(availability + first).sum(1)
        return code


class Modulation(nn.Module):
    """A(m) = (1 + M_scale(code)) ⊙ norm(m) + M_shift(code), M = ReLU → linear; the norm alone where M is zero.

    Both M are one linear layer with twice the outputs.
    """

    def __init__(self, channels: int, code_channels: int) -> None:
        super().__init__()
        self.scale_shift = nn.Linear(code_channels, 2 * channels)

    def forward(self, features: Tensor, code: Tensor) -> Tensor:
        """Modulate features (B, C, H, W) by code (B, E)."""
        scale, shift = self.scale_shift(code.relu()).chunk(2, dim=1)
        return instance_norm(features, 1 + scale, shift)
