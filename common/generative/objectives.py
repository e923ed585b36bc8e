"""What a network of each family is shown in training and should say: the counterparts of `common.generative.samplers`.

`noise` is standard normal, pictures and noise are (B, 1, H, W), times are in the family's own units, (B,).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from common.generative import flow
from common.generative.diffusion import Prediction, add_noise, target_of
from common.generative.noise_schedule import NoiseSchedule


class Objective(Protocol):
    """A family's training pairs.

    `squared` says that the error is squared, else it is absolute: a network that must say the *mean* of a noise or of a
    velocity, or sampling goes astray, needs squares; papers that draw the image itself (CBSI, seed 001's E2E) take MAE.
    """

    @property
    def squared(self) -> bool: ...

    def draw_times(self, count: int, generator: torch.Generator) -> Tensor:
        """Return random times."""
        ...

    def time_at(self, noisiness: float, count: int) -> Tensor:
        """Return the time at this share of the way from picture (0) to noise (1), where drawing starts."""
        ...

    def idle(self, noise: Tensor) -> Tensor:
        """Return what is shown, at the time where drawing starts, where there is no picture."""
        ...

    def show(self, picture: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """Return x_t."""
        ...

    def ask(self, picture: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """Return what the network should say of x_t."""
        ...

    def clock(self, t: Tensor) -> Tensor:
        """Return t as the network's embedding is shown it."""
        ...


@dataclass(frozen=True)
class DiffusionObjective:
    """Picture, noise or velocity from x_t of a diffusion."""

    schedule: NoiseSchedule
    prediction: Prediction = "image"

    @property
    def squared(self) -> bool:
        """Noise and velocity are learnt by squares."""
        return self.prediction != "image"

    def draw_times(self, count: int, generator: torch.Generator) -> Tensor:
        """Return uniform steps."""
        return torch.randint(self.schedule.steps, (count,), generator=generator)

    def time_at(self, noisiness: float, count: int) -> Tensor:
        """Return a step."""
        return torch.full((count,), min(int(noisiness * self.schedule.steps), self.schedule.steps - 1))

    def idle(self, noise: Tensor) -> Tensor:
        """Return pure noise."""
        return noise

    def show(self, picture: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """Return the picture in noise."""
        return add_noise(picture, noise, t, self.schedule)

    def ask(self, picture: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """Return what is predicted."""
        return target_of(self.prediction, picture, noise, t, self.schedule)

    def clock(self, t: Tensor) -> Tensor:
        """Return the step."""
        return t


@dataclass(frozen=True)
class FlowObjective:
    """The velocity from noise to picture (conditional flow matching)."""

    squared: bool = True

    def draw_times(self, count: int, generator: torch.Generator) -> Tensor:
        """Return uniform times in [0, 1)."""
        return torch.rand(count, generator=generator)

    def time_at(self, noisiness: float, count: int) -> Tensor:
        """Return a time."""
        return torch.full((count,), 1 - noisiness)

    def idle(self, noise: Tensor) -> Tensor:
        """Return pure noise."""
        return noise

    def show(self, picture: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """Return a point of the straight line."""
        return flow.interpolate(picture, noise, t)

    def ask(self, picture: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """Return the line's velocity."""
        return flow.velocity_of(picture, noise)

    def clock(self, t: Tensor) -> Tensor:
        """Return 1000 t."""
        return flow.TIME_SCALE * t


@dataclass(frozen=True)
class DirectObjective:
    """The picture itself, from nothing but its conditions (end to end)."""

    squared: bool = False

    def draw_times(self, count: int, generator: torch.Generator) -> Tensor:
        """Return zeros."""
        return torch.zeros(count, dtype=torch.int64)

    def time_at(self, noisiness: float, count: int) -> Tensor:
        """Return zeros."""
        return torch.zeros(count, dtype=torch.int64)

    def idle(self, noise: Tensor) -> Tensor:
        """Return zeros."""
        return torch.zeros_like(noise)

    def show(self, picture: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """Return zeros."""
        return torch.zeros_like(noise)

    def ask(self, picture: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """Return the picture."""
        return picture

    def clock(self, t: Tensor) -> Tensor:
        """Return zeros."""
        return t
