"""What a site may say in an assessment: names, and of what kind each is. Both sides read it off study and plan."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from common.plan import Plan
from common.study import Study


@dataclass(frozen=True)
class Values:
    """A tuple of numbers a patient, which leaves as sums.

    Attributes:
        ranges: least and greatest of each number.
    """

    ranges: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Bins:
    """A bin 0 … `count` - 1 a patient, which leaves as a histogram."""

    count: int


@dataclass(frozen=True)
class Features:
    """Some feature vectors of length `size` a patient, which leave as moments."""

    size: int


Declared = Values | Bins | Features
Declaration = Callable[[Study, Plan, str], Mapping[str, Declared]]
"""From study, plan and site's name to what that site may say; nothing where the study does not ask."""
