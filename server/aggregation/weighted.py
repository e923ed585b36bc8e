"""The weighted mean over the sites, in float64, and the update of a site as it lies on disk."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor


@dataclass(frozen=True)
class SpooledUpdate:
    """One site's accepted update on disk, and per group the patients that touched it."""

    site: str
    path: Path
    patients: Mapping[str, int]


class WeightedMean:
    """sum(w x) / sum(w) in float64, one sum held; equal tensors of float32 give themselves back exactly."""

    def __init__(self) -> None:
        self._total: Tensor | None = None
        self._weight = 0

    def add(self, weight: int, tensor: Tensor) -> None:
        """Take a site's value in."""
        if self._total is None:
            self._total = torch.zeros_like(tensor, dtype=torch.float64)
        self._total += weight * tensor.double()
        self._weight += weight

    def value(self) -> Tensor:
        """Return the mean. Raises ValueError where no site gave a value."""
        if self._total is None:
            raise ValueError("no site gave a value")
        return self._total / self._weight
