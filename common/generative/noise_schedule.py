"""Noise schedules of discrete diffusion; time runs from the image (t = 0, little noise) to pure noise (t = T - 1)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

COSINE_OFFSET = 0.008
LARGEST_BETA = 0.999
FIRST_BETA, LAST_BETA, LINEAR_STEPS = 1e-3, 5e-2, 2000

Shape = Literal["cosine", "linear"]


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


def linear_schedule(steps: int = 2000) -> NoiseSchedule:
    """Return the schedule of seed 001 (Palette): betas evenly spaced from 1e-3 to 5e-2 at T = 2000.

    With other T they are scaled so that as much of the image is left at the end.
    """
    beta = torch.linspace(FIRST_BETA, LAST_BETA, steps, dtype=torch.float64) * LINEAR_STEPS / steps
    return NoiseSchedule(torch.cumprod(1 - beta.clamp(max=LARGEST_BETA), dim=0).float())


def schedule_of(shape: Shape, steps: int) -> NoiseSchedule:
    """Return the schedule of this shape with T = `steps`."""
    return cosine_schedule(steps) if shape == "cosine" else linear_schedule(steps)
