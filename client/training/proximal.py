"""FedProx: the pull of a site's weights towards the global ones that it began the round with (Li 2020, eq. 2)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from common.parameters import DOMAIN_PREFIX, SHARED, group_of, grouping_of


def pull_towards_global(model: nn.Module, optimisers: Iterable[torch.optim.Optimizer], weight: float) -> None:
    """Add the gradient of weight/2 * ||w - w_global||^2 to every later step of `optimisers`.

    The present weights of `model` are taken for the global ones. Shared and owned groups are pulled; a site's own
    tensors have no global value. The pull is added where the optimiser moves, so that neither the clipping of a
    gradient nor the noise of DP-SGD concerns it, and a weight that a batch says nothing of stays where it is.

    Args:
        model: carries the global weights, on the device where it trains.
        optimisers: of the round's step, over parameters of `model`.
        weight: FedProx' mu; 0 changes nothing.
    """
    if weight == 0:
        return
    grouping = grouping_of(model)
    anchors: dict[int, torch.Tensor] = {}
    for name, parameter in model.named_parameters():
        group = group_of(name, grouping)
        if group == SHARED or group.startswith(DOMAIN_PREFIX):
            anchors[id(parameter)] = parameter.detach().clone()

    @torch.no_grad()
    def pull(optimiser: torch.optim.Optimizer, arguments: Any, keywords: Any) -> None:
        for parameter in (each for group in optimiser.param_groups for each in group["params"]):
            if parameter.grad is not None and id(parameter) in anchors:
                parameter.grad.add_(parameter - anchors[id(parameter)], alpha=weight)

    for optimiser in optimisers:
        optimiser.register_step_pre_hook(pull)
