"""The forward diffusion process in closed form, and the three equivalent ways to name what a network predicts.

x_t = √ᾱ_t · image + √(1 − ᾱ_t) · noise. A network predicts the image (x_0, CBSI), the noise (ε, Ho 2020) or the
velocity (v = √ᾱ_t · noise − √(1 − ᾱ_t) · image, Salimans and Ho 2022); each follows from any other and x_t.
All tensors are (B, C, H, W); t is (B,) int64 in 0 … T − 1.
"""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from common.generative.noise_schedule import NoiseSchedule

Prediction = Literal["image", "noise", "velocity"]


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


def target_of(prediction: Prediction, image: Tensor, noise: Tensor, t: Tensor, schedule: NoiseSchedule) -> Tensor:
    """Return what a network that predicts `prediction` should say of x_t."""
    match prediction:
        case "image":
            return image
        case "noise":
            return noise
        case "velocity":
            return velocity_of(image, noise, t, schedule)


def image_from(prediction: Prediction, said: Tensor, x_t: Tensor, t: Tensor, schedule: NoiseSchedule) -> Tensor:
    """Return the image that lies in x_t where a network that predicts `prediction` said `said`."""
    match prediction:
        case "image":
            return said
        case "noise":
            return image_from_noise(x_t, said, t, schedule)
        case "velocity":
            return image_from_velocity(x_t, said, t, schedule)
