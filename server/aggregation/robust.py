"""Rules that a minority of broken or hostile sites cannot carry away: coordinate-wise median and trimmed mean.

Both are of Yin et al. 2018 (Byzantine-robust distributed learning). Every site counts alike: a weight is what a hostile
site would claim. Both need the sites' values of a tensor at one time.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


class Median:
    """The median of each coordinate; of an even number of sites the mean of the two in the middle."""

    def __init__(self) -> None:
        self._values: list[Tensor] = []

    def add(self, weight: int, tensor: Tensor) -> None:
        """Take a site's value in, whatever its weight."""
        self._values.append(tensor.clone())

    def value(self) -> Tensor:
        """Return the median in float64."""
        ordered = torch.stack(self._values).sort(dim=0).values
        sites = len(ordered)
        return (ordered[(sites - 1) // 2].double() + ordered[sites // 2].double()) / 2


class TrimmedMean:
    """The mean of each coordinate without the `trim` share of the sites at either end."""

    def __init__(self, trim: float) -> None:
        self._trim = trim
        self._values: list[Tensor] = []

    def add(self, weight: int, tensor: Tensor) -> None:
        """Take a site's value in, whatever its weight."""
        self._values.append(tensor.clone())

    def value(self) -> Tensor:
        """Return the trimmed mean in float64."""
        ordered = torch.stack(self._values).sort(dim=0).values
        cut = sites_cut(len(ordered), self._trim)
        return ordered[cut : len(ordered) - cut].double().mean(0)


def sites_cut(sites: int, trim: float) -> int:
    """Return how many of `sites` are cut at either end: the share `trim`, rounded up, so long as one is left."""
    return min(math.ceil(round(trim * sites, 9)), (sites - 1) // 2)
