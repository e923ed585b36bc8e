"""Nearest-neighbour doubling of a map, with a backward pass that is as cheap as the forward one."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F


class _Doubling(torch.autograd.Function):
    """Its gradient is the sum over each 2 x 2 square; PyTorch's own is ten times slower on a slice of channels."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        return F.interpolate(x, scale_factor=2, mode="nearest")

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, *gradient: Tensor) -> Tensor:
        return F.avg_pool2d(gradient[0], 2, divisor_override=1)


def double(x: Tensor) -> Tensor:
    """Return x (B, C, H, W) with every position written twice along both axes, (B, C, 2H, 2W)."""
    doubled: Tensor = _Doubling.apply(x)  # type: ignore[no-untyped-call]
    return doubled
