"""Ordinary differential equations from t = 0 to t = 1 by torchdiffeq, in steps of equal length.

Seed 001 solves its flow by DOPRI-5 at 10 time steps. Its error control is switched off here: the step would follow from
all slices of a batch together, and a slice's picture must not depend on its neighbours in the batch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor
from torchdiffeq import odeint

Solver = Literal["dopri5", "euler", "midpoint", "rk4"]

EVALUATIONS: dict[Solver, int] = {"dopri5": 6, "euler": 1, "midpoint": 2, "rk4": 4}
"""Evaluations of the velocity a step; DOPRI-5 takes one more at the start."""

UNLIMITED = 1e30


def integrate(velocity: Callable[[Tensor, Tensor], Tensor], start: Tensor, solver: Solver, steps: int) -> Tensor:
    """Return x(1) where dx/dt = velocity(x, t) and x(0) = `start`.

    Args:
        velocity: (x (B, C, H, W), t scalar in [0, 1]) → (B, C, H, W).
        start: (B, C, H, W).
        solver: `euler` is of order 1, `midpoint` 2, `rk4` (the 3/8 rule) 4, `dopri5` 5.
        steps: number of equal steps, at least 1.
    """
    times = torch.linspace(0, 1, steps + 1, dtype=torch.float64)
    if solver == "dopri5":
        # A step that would pass a time of the grid ends there, so the longest may be a little more than a step.
        options: dict[str, Any] = {"step_t": times[1:], "first_step": 1.5 / steps, "min_step": 1.5 / steps}
    else:
        options = {"grid_constructor": lambda *_: times.to(start)}
    path = odeint(
        lambda t, x: velocity(x, t),
        start,
        times[[0, -1]].to(start.device, torch.float64 if solver == "dopri5" else start.dtype),
        rtol=UNLIMITED,
        atol=UNLIMITED,
        method=solver,
        options=options,
    )
    end: Tensor = path[-1]
    return end
