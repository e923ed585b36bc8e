"""The forward diffusion process in closed form, and the three equivalent ways to name what a network predicts.

x_t = √ᾱ_t · image + √(1 − ᾱ_t) · noise. Networks here predict the image (x_0, CBSI); noise (ε, Ho 2020) and velocity
(v = √ᾱ_t · noise − √(1 − ᾱ_t) · image, Salimans and Ho 2022) follow from it and x_t, and back.
All tensors are (B, C, H, W); t is (B,) int64 in 0 … T − 1.
"""

from __future__ import annotations

from torch import Tensor

from common.generative.noise_schedule import NoiseSchedule


def add_noise(image: Tensor, noise: Tensor, t: Tensor, schedule: NoiseSchedule) -> Tensor:
    """Return x_t, the image after t + 1 noise steps."""
    return schedule.image_scale(t) * image + schedule.noise_scale(t) * noise


def noise_from_image(x_t: Tensor, image: Tensor, t: Tensor, schedule: NoiseSchedule) -> Tensor:
    """Return the noise that lies between `image` and x_t."""
    return (x_t - schedule.image_scale(t) * image) / schedule.noise_scale(t)


def image_from_noise(x_t: Tensor, noise: Tensor, t: Tensor, schedule: NoiseSchedule) -> Tensor:
    """Return the image that `noise` turned into x_t; ill-conditioned at the last steps, where ᾱ_t is almost 0."""
    return (x_t - schedule.noise_scale(t) * noise) / schedule.image_scale(t)


def velocity_of(image: Tensor, noise: Tensor, t: Tensor, schedule: NoiseSchedule) -> Tensor:
    """Return the velocity v at step t."""
    return schedule.image_scale(t) * noise - schedule.noise_scale(t) * image


def image_from_velocity(x_t: Tensor, velocity: Tensor, t: Tensor, schedule: NoiseSchedule) -> Tensor:
    """Return the image at x_t under velocity v."""
    return schedule.image_scale(t) * x_t - schedule.noise_scale(t) * velocity


def noise_from_velocity(x_t: Tensor, velocity: Tensor, t: Tensor, schedule: NoiseSchedule) -> Tensor:
    """Return the noise at x_t under velocity v."""
    return schedule.noise_scale(t) * x_t + schedule.image_scale(t) * velocity
