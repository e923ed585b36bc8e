"""The weights with which the UMMGAT networks begin, drawn reproducibly."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn

FirstWeights = Literal["he", "uniform"]


def initialise(model: nn.Module, generator: torch.Generator, law: FirstWeights = "he") -> None:
    """Draw all weights of convolutions and linear layers anew from `generator`.

    `he` is the papers' (UMMGAT, StarGAN-v2): normal with variance 2 / fan in, biases zero. `uniform` draws weights and
    biases within 1 / sqrt(fan in), PyTorch's own law. He's weights are the larger, add up along the residual levels,
    and made the tiny generator learn several times slower. A tensor that its class set to zero (output layers,
    position biases) stays zero under both, unit norms stay as they are; one on the meta device has no weights.
    """
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            for tensor in (module.weight, module.bias):
                if tensor is not None and not tensor.is_meta and bool(tensor.any()):
                    with torch.no_grad():
                        _draw(tensor, module.weight[0].numel(), generator, law)


def _draw(tensor: Tensor, fan_in: int, generator: torch.Generator, law: FirstWeights) -> None:
    if law == "uniform":
        bound = 1 / math.sqrt(fan_in)
        tensor.uniform_(-bound, bound, generator=generator)
    elif tensor.dim() == 1:
        tensor.zero_()
    else:
        tensor.normal_(0, math.sqrt(2 / fan_in), generator=generator)
