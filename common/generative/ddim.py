"""Deterministic DDIM sampling (Song 2021, σ = 0) with a network that predicts the image."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from common.generative.diffusion import add_noise, noise_from_image
from common.generative.noise_schedule import NoiseSchedule

Predict = Callable[[Tensor, Tensor], Tensor]
"""(x_t (B, C, H, W), t (B,) int64) → the image it comes from, (B, C, H, W)."""


def sampling_steps(total: int, count: int) -> tuple[int, ...]:
    """Return `count` of the T = `total` steps, falling, evenly spaced, from the last one, T − 1.

    The last evaluation returns the image itself, so the grid needs no step at t = 0.
    Raises ValueError unless 1 ≤ count ≤ total.
    """
    if not 1 <= count <= total:
        raise ValueError(f"{count} sampling steps of {total} diffusion steps")
    return tuple(round(total - number * total / count) - 1 for number in range(count))


def sample(predict: Predict, noise: Tensor, schedule: NoiseSchedule, steps: int) -> Tensor:
    """Draw images from noise (B, C, H, W); equal noise gives equal images.

    Each step holds the noise that the prediction implies and carries it to the next, smaller step:
    x_t' = √ᾱ_t' x̂_0 + √(1 − ᾱ_t') ε̂.
    """
    grid = sampling_steps(schedule.steps, steps)
    x_t = noise
    image = noise
    for number, step in enumerate(grid):
        t = torch.full((noise.shape[0],), step, dtype=torch.int64, device=noise.device)
        image = predict(x_t, t)
        if number + 1 < len(grid):
            implied = noise_from_image(x_t, image, t, schedule)
            x_t = add_noise(image, implied, torch.full_like(t, grid[number + 1]), schedule)
    return image
