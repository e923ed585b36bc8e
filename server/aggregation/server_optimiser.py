"""The coordinator's optimiser: the step from the global model to the round's aggregate is taken for a gradient.

Momentum is FedAvgM (Hsu 2019); Adam and Yogi are algorithm 2 of Reddi 2021 (Adaptive federated optimization), without
bias correction, the second moment beginning at tau squared.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import torch
from torch import Tensor

from common.parameters import DOMAIN_PREFIX, PLAIN, SHARED, Grouping, StateDict, group_of
from common.settings.aggregation import Aggregation

FIRST, SECOND = "first/", "second/"
"""Prefixes of the moments in the optimiser's state, before the tensor's name."""


@dataclass(frozen=True)
class Moved:
    """The next global tensors and the moments that led there."""

    tensors: StateDict
    moments: StateDict


def step(
    settings: Aggregation,
    current: StateDict,
    merged: StateDict,
    moments: StateDict,
    trained: Collection[str],
    parameters: Collection[str],
    grouping: Grouping = PLAIN,
) -> Moved:
    """Move `current` by the study's optimiser along merged - current.

    A group that was not trained does not move, nor do its moments. Only parameters of shared and owned groups are
    optimised: buffers have no gradient (momentum could make a running variance negative), norms of the sites' own never
    return to them, statistics are no weights. These take the merged value.

    Args:
        current, merged: the global tensors before the round, and the rule's result.
        moments: as the round before returned them; empty before the first.
        trained: groups that the rule moved.
        parameters: names of the tensors that are parameters.
        grouping: which tensors are a site's own.
    """
    if settings.server_optimiser == "none":
        return Moved(merged, {})
    tensors, kept = dict(merged), dict(moments)
    for name in sorted(current):
        group = group_of(name, grouping)
        optimised = group == SHARED or group.startswith(DOMAIN_PREFIX)
        if optimised and name in parameters and group in trained:
            gradient = merged[name].double() - current[name].double()
            change, found = _change(settings, gradient, moments.get(FIRST + name), moments.get(SECOND + name))
            tensors[name] = (current[name].double() + change).to(current[name].dtype)
            kept |= {prefix + name: moment for prefix, moment in found.items()}
    return Moved(tensors, {name: kept[name] for name in sorted(kept)})


def _change(
    settings: Aggregation, gradient: Tensor, first: Tensor | None, second: Tensor | None
) -> tuple[Tensor, dict[str, Tensor]]:
    """Return by how much a tensor moves, and its moments, which are kept in float32."""
    rate, momentum = settings.server_learning_rate, settings.beta_1
    before = torch.zeros_like(gradient) if first is None else first.double()
    if settings.server_optimiser == "momentum":
        kept = (momentum * before + gradient).float()
        return rate * kept.double(), {FIRST: kept}
    kept = (momentum * before + (1 - momentum) * gradient).float()
    squared = gradient.square()
    spread = torch.full_like(gradient, settings.tau**2) if second is None else second.double()
    if settings.server_optimiser == "adam":
        spread = settings.beta_2 * spread + (1 - settings.beta_2) * squared
    else:
        spread = spread - (1 - settings.beta_2) * squared * (spread - squared).sign()
    spread = spread.float()
    return rate * kept.double() / (spread.double().sqrt() + settings.tau), {FIRST: kept, SECOND: spread}
