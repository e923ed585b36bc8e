"""DDIM sampling (Song 2021) with a network that predicts the image; deterministic at eta = 0, as CBSI samples."""

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


def sample(
    predict: Predict,
    noise: Tensor,
    schedule: NoiseSchedule,
    steps: int,
    eta: float = 0.0,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Draw images from noise (B, C, H, W); at eta = 0 equal noise gives equal images.

    Each step carries the noise that the prediction implies to the next, smaller step, and replaces a part of it:
    x_t' = √ᾱ_t' x̂_0 + √(1 − ᾱ_t' − σ²) ε̂ + σ z, σ = eta · √((1 − ᾱ_t') / (1 − ᾱ_t)) · √(1 − ᾱ_t / ᾱ_t').

    Args:
        predict: the network.
        noise: standard normal.
        schedule: the schedule the network was trained with.
        steps: number of evaluations.
        eta: 0 is DDIM, 1 has the variance of DDPM (Song 2021, eq. 16).
        generator: of z, on the device of `noise`.
    Raises:
        ValueError: where eta is positive and no generator was given.
    """
    if eta and generator is None:
        raise ValueError("eta > 0 draws fresh noise: give its generator")
    grid = sampling_steps(schedule.steps, steps)
    x_t = noise
    image = noise
    for number, step in enumerate(grid):
        t = torch.full((noise.shape[0],), step, dtype=torch.int64, device=noise.device)
        image = predict(x_t, t)
        if number + 1 < len(grid):
            implied = noise_from_image(x_t, image, t, schedule)
            following = torch.full_like(t, grid[number + 1])
            if eta:
                fresh = torch.empty_like(noise).normal_(generator=generator)
                implied = _refreshed(implied, fresh, eta, t, following, schedule)
            x_t = add_noise(image, implied, following, schedule)
    return image


def _refreshed(
    implied: Tensor, fresh: Tensor, eta: float, t: Tensor, following: Tensor, schedule: NoiseSchedule
) -> Tensor:
    """Return the noise of the next step, of unit variance: its share σ² / (1 − ᾱ_t') is fresh."""
    kept = (schedule.image_scale(t) / schedule.image_scale(following)) ** 2
    share = eta**2 * (1 - kept) / schedule.noise_scale(t) ** 2
    return (1 - share).clamp(min=0).sqrt() * implied + share.clamp(max=1).sqrt() * fresh
