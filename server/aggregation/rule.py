"""What the study's `[aggregation] rule` means for each parameter group."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from torch import Tensor

from common.parameters import NORMS, SHARED
from common.settings.aggregation import FEWEST_FOR_ROBUST, Aggregation
from server.aggregation.robust import Median, TrimmedMean
from server.aggregation.weighted import WeightedMean

ROBUST_GROUPS = frozenset({SHARED, NORMS})
"""Groups that several sites train. A head is its only owner's, whom nobody can outvote; statistics are counts of
patients, whose consortium's value is their weighted mean and no other."""


class Combiner(Protocol):
    """Takes the sites' values of one tensor, in the roster's order, and says what they come to."""

    def add(self, weight: int, tensor: Tensor) -> None:
        """Take a site's value in."""
        ...

    def value(self) -> Tensor:
        """Return the result in float64."""
        ...


@dataclass(frozen=True)
class Rule:
    """How the sites' values of one tensor become one."""

    settings: Aggregation = field(default_factory=Aggregation)

    @property
    def robust(self) -> bool:
        """Whether the rule withstands a minority of hostile sites; it then holds all sites' values of a tensor."""
        return self.settings.rule != "mean"

    def combiner(self, group: str) -> Combiner:
        """Return a fresh combiner for one tensor of `group`."""
        if group not in ROBUST_GROUPS or not self.robust:
            return WeightedMean()
        return Median() if self.settings.rule == "median" else TrimmedMean(self.settings.trim)

    def refuses(self, group: str, sites: int) -> bool:
        """Whether so few sites trained `group` that the rule would protect from nobody; the group keeps its value."""
        return self.robust and group in ROBUST_GROUPS and sites < FEWEST_FOR_ROBUST
