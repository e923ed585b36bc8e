"""Noise schedules of discrete diffusion; time runs from the image (t = 0, little noise) to pure noise (t = T - 1)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

COSINE_OFFSET = 0.008
LARGEST_BETA = 0.999


@dataclass(frozen=True)
class NoiseSchedule:
    """How much of the image is left after each of T noise steps.

    Attributes:
        alpha_bar: (T,) float32, falling from almost 1 to almost 0: the share of the image's variance left at step t.
    """

    alpha_bar: Tensor

    @property
    def steps(self) -> int:
        """T."""
        return int(self.alpha_bar.shape[0])

    def image_scale(self, t: Tensor) -> Tensor:
        """Return √ᾱ_t for steps t (B,) as (B, 1, 1, 1), on the device of t."""
        return self.alpha_bar.to(t.device)[t].sqrt()[:, None, None, None]

    def noise_scale(self, t: Tensor) -> Tensor:
        """Return √(1 − ᾱ_t) for steps t (B,) as (B, 1, 1, 1), on the device of t."""
        return (1 - self.alpha_bar.to(t.device)[t]).sqrt()[:, None, None, None]


def cosine_schedule(steps: int = 1000) -> NoiseSchedule:
    """Return the cosine schedule with T = `steps` (Nichol and Dhariwal 2021, eq. 17, betas at most 0.999)."""
    grid = torch.arange(steps + 1, dtype=torch.float64) / steps
    level = torch.cos((grid + COSINE_OFFSET) / (1 + COSINE_OFFSET) * math.pi / 2) ** 2
    beta = (1 - level[1:] / level[:-1]).clamp(max=LARGEST_BETA)
    return NoiseSchedule(torch.cumprod(1 - beta, dim=0).float())
