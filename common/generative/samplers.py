"""How a picture comes out of noise: one sampler for each family of synthesiser, all behind the same call.

The network is told its time in the family's own units; what it says is turned into the picture here, and nowhere else.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor

from common.generative import ddim, dpm_solver, flow
from common.generative.diffusion import Prediction, image_from
from common.generative.noise_schedule import NoiseSchedule
from common.generative.ode import Solver, integrate

Network = Callable[[Tensor, Tensor], Tensor]
"""(x_t (B, 1, H, W), time (B,)) → what the network says, (B, 1, H, W)."""


Method = Literal["ddim", "dpm"]


class Sampler(Protocol):
    """(network, standard normal noise (B, 1, H, W)) → pictures, (B, 1, H, W); equal noise gives equal pictures."""

    def __call__(self, network: Network, noise: Tensor) -> Tensor: ...


@dataclass(frozen=True)
class DiffusionSampler:
    """DDIM at σ = 0, or DPM-Solver++ of second order, which needs fewer steps.

    Attributes:
        schedule: the one the network was trained with.
        steps: evaluations.
        prediction: what the network predicts.
        limit: pictures lie in [-limit, limit], and so does the image that each step finds.
        method: how the steps follow one another.
    """

    schedule: NoiseSchedule
    steps: int
    prediction: Prediction = "image"
    limit: float = 1.0
    method: Method = "ddim"

    def __call__(self, network: Network, noise: Tensor) -> Tensor:
        """Draw."""

        def predict(x_t: Tensor, t: Tensor) -> Tensor:
            image = image_from(self.prediction, network(x_t, t).float(), x_t, t, self.schedule)
            return image.clamp(-self.limit, self.limit)

        if self.method == "dpm":
            return dpm_solver.sample(predict, noise, self.schedule, self.steps)
        return ddim.sample(predict, noise, self.schedule, self.steps)


@dataclass(frozen=True)
class FlowSampler:
    """The velocity followed from noise at t = 0 to the picture at t = 1, by `steps` equal steps of `solver`."""

    solver: Solver
    steps: int
    limit: float = 1.0

    def __call__(self, network: Network, noise: Tensor) -> Tensor:
        """Draw."""

        def velocity(x_t: Tensor, t: Tensor) -> Tensor:
            return network(x_t, (flow.TIME_SCALE * t).to(x_t).expand(len(x_t))).float()

        return integrate(velocity, noise, self.solver, self.steps).clamp(-self.limit, self.limit)


@dataclass(frozen=True)
class DirectSampler:
    """One evaluation without noise (end to end): the network sees zeros at time 0."""

    limit: float = 1.0

    def __call__(self, network: Network, noise: Tensor) -> Tensor:
        """Draw; of `noise` only the shape matters."""
        time = torch.zeros(len(noise), dtype=torch.int64, device=noise.device)
        return network(torch.zeros_like(noise), time).float().clamp(-self.limit, self.limit)
