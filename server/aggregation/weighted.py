"""The weighted mean by parameter group: each group over the sites that trained it, in float64, in roster order."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor

from common.parameters import PLAIN, Grouping, StateDict, group_of


@dataclass(frozen=True)
class SpooledUpdate:
    """One site's accepted update on disk, and per group the patients that touched it."""

    site: str
    path: Path
    patients: Mapping[str, int]


def aggregate(current: StateDict, updates: Iterable[SpooledUpdate], cap: int, grouping: Grouping = PLAIN) -> StateDict:
    """Return the next global tensors: theta_g = sum_s w_s theta_s / sum_s w_s over the sites s that trained group g.

    w_s is the number of the site's patients that touched g, at most `cap`. Sums run in float64 over the sites in sorted
    order, tensor by tensor, so that neither the order of arrival nor the number of sites shows in the bytes or in the
    memory. A group that nobody trained keeps its value; so do tensors of whole numbers, which have no mean.

    Args:
        current: the global tensors of the round's start.
        updates: accepted updates; a file holds the floating-point tensors of the groups that it names.
    """
    ordered = sorted(updates, key=lambda update: update.site)
    with ExitStack() as stack:
        files = [stack.enter_context(safe_open(update.path, framework="pt")) for update in ordered]
        merged: StateDict = {}
        for name in sorted(current):
            group = group_of(name, grouping)
            parts = [
                (min(update.patients[group], cap), file.get_tensor(name))
                for update, file in zip(ordered, files, strict=True)
                if group in update.patients and current[name].is_floating_point()
            ]
            merged[name] = weighted_mean(parts).to(current[name].dtype) if parts else current[name].clone()
    return merged


def weighted_mean(parts: list[tuple[int, Tensor]]) -> Tensor:
    """Return sum(w x) / sum(w) in float64 over `(w, x)`; equal tensors of float32 give themselves back exactly."""
    total = torch.zeros_like(parts[0][1], dtype=torch.float64)
    for weight, tensor in parts:
        total += weight * tensor.double()
    return total / sum(weight for weight, _ in parts)
