"""Flow matching along straight lines (Lipman 2023; seed 001): time runs from noise (t = 0) to the image (t = 1).

x_t = (1 − t) · noise + t · image. The network learns the velocity v = image − noise; whoever follows its mean from
noise at t = 0 arrives at an image at t = 1. All tensors are (B, C, H, W); t is (B,) float in [0, 1].
"""

from __future__ import annotations

from torch import Tensor

TIME_SCALE = 1000.0
"""What a network's time embedding is shown is 1000 t: it was made for the steps of a diffusion."""


def interpolate(image: Tensor, noise: Tensor, t: Tensor) -> Tensor:
    """Return x_t."""
    t = t[:, None, None, None]
    return (1 - t) * noise + t * image


def velocity_of(image: Tensor, noise: Tensor) -> Tensor:
    """Return v, the same at all times of a line."""
    return image - noise


def image_from_velocity(x_t: Tensor, velocity: Tensor, t: Tensor) -> Tensor:
    """Return where the line through x_t with this velocity ends."""
    return x_t + (1 - t[:, None, None, None]) * velocity


def gaussian_velocity(x_t: Tensor, t: Tensor, mean: Tensor | float, spread: Tensor | float) -> Tensor:
    """Return the mean velocity at x_t where images are N(mean, spread²): its flow takes noise z to mean + spread · z.

    A network that says mean and spread of each pixel, both of them as functions of x_t and t, can say every velocity;
    but it need not carry each pixel's noise through its layers (as Karras 2022 spares it in diffusion).
    """
    t = t[:, None, None, None]
    slope = (t * spread**2 - (1 - t)) / ((1 - t) ** 2 + t**2 * spread**2)
    return mean + slope * (x_t - t * mean)
