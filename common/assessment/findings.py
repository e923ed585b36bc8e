"""What leaves a site of an assessment: sums over patients, merged histograms and moments, checked as they arrive."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated

import numpy as np
from pydantic import Field, FiniteFloat, StringConstraints

from common.assessment.declared import Bins, Declared, Features, Values
from common.assessment.histogram import Group
from common.metrics.distribution import Moments
from common.records import Code, Digest, WireError
from common.settings.frozen import Frozen

MOST_NAMES = 4096
SLICES_A_FEATURE = 2
"""Moments need this many times as many slices as features: the sum of fewer outer products shows their span."""

ROUNDING = 1e-6
LARGEST_FEATURE = 1e6
"""No feature counts for more, either way; what is squared and summed over all slices then stays far from overflow."""

Name = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z-]*(/[A-Za-z0-9:._-]+){1,4}$", max_length=128)]
Patients = Annotated[int, Field(ge=1, le=100_000)]
Numbers = Annotated[tuple[FiniteFloat, ...], Field(max_length=8256)]


class Sums(Frozen):
    """Sums over patients of each number and of its square."""

    patients: Patients
    totals: Annotated[tuple[FiniteFloat, ...], Field(min_length=1, max_length=64)]
    squares: Annotated[tuple[FiniteFloat, ...], Field(min_length=1, max_length=64)]


class Histogram(Frozen):
    """Patients by group of bins: group i ends before bin `ends[i]`, where the next one begins."""

    ends: Annotated[tuple[Annotated[int, Field(ge=1, le=4096)], ...], Field(min_length=1, max_length=4096)]
    counts: Annotated[tuple[Annotated[int, Field(ge=0, le=100_000)], ...], Field(min_length=1, max_length=4096)]

    @property
    def groups(self) -> tuple[Group, ...]:
        """The groups, from the left."""
        starts = (0, *self.ends[:-1])
        return tuple(Group(*each) for each in zip(starts, self.ends, self.counts, strict=True))


class FeatureSums(Frozen):
    """Sufficient statistics of the feature vectors of some slices: see `common.metrics.distribution`.

    `outer` holds the upper triangle of the sum of outer products, row by row.
    """

    patients: Patients
    slices: Annotated[int, Field(ge=1, le=100_000_000)]
    total: Numbers
    outer: Numbers

    @property
    def moments(self) -> Moments:
        """The statistics as matrices."""
        size = len(self.total)
        outer = np.zeros((size, size))
        outer[np.triu_indices(size)] = self.outer
        return Moments(self.slices, np.array(self.total), outer + np.triu(outer, 1).T)


class Findings(Frozen):
    """All that one site says of one release.

    Attributes:
        weights: digest of the weights that were assessed.
        sums, histograms, moments: by declared name.
        withheld: names that stay at the site for want of patients.
        failed: assessors that could not be run, and the code of the error.
    """

    weights: Digest
    sums: Annotated[dict[Name, Sums], Field(max_length=MOST_NAMES)] = Field(default_factory=dict)
    histograms: Annotated[dict[Name, Histogram], Field(max_length=MOST_NAMES)] = Field(default_factory=dict)
    moments: Annotated[dict[Name, FeatureSums], Field(max_length=MOST_NAMES)] = Field(default_factory=dict)
    withheld: Annotated[tuple[Name, ...], Field(max_length=MOST_NAMES)] = ()
    failed: Annotated[dict[Code, Code], Field(max_length=64)] = Field(default_factory=dict)

    @property
    def names(self) -> frozenset[str]:
        """All declared names that these findings say something of, be it that it was withheld."""
        return frozenset((*self.sums, *self.histograms, *self.moments, *self.withheld))

    def completed_by(self, later: Findings) -> Findings:
        """Return these findings with what `later` says under names not said yet; what failed is what still does."""
        new = later.names - self.names
        return Findings(
            weights=self.weights,
            sums=self.sums | {name: each for name, each in later.sums.items() if name in new},
            histograms=self.histograms | {name: each for name, each in later.histograms.items() if name in new},
            moments=self.moments | {name: each for name, each in later.moments.items() if name in new},
            withheld=(*self.withheld, *(name for name in later.withheld if name in new)),
            failed=later.failed,
        )


def check_findings(findings: Findings, declared: Mapping[str, Declared], fewest: int) -> None:
    """Refuse what a site may not say: unknown names, other shapes, impossible values, fewer patients than `fewest`.

    Raises:
        WireError: `malformed-assessment`.
    """
    unknown = sorted(findings.names - set(declared))
    if unknown:
        raise _malformed(f"{len(unknown)} names were not declared, the first is {unknown[0]}")
    for name, sums in findings.sums.items():
        kind = declared[name]
        _require(name, isinstance(kind, Values) and _fits(sums, kind, fewest))
    for name, histogram in findings.histograms.items():
        kind = declared[name]
        _require(name, isinstance(kind, Bins) and _holds(histogram, kind, fewest))
    for name, moments in findings.moments.items():
        kind = declared[name]
        _require(name, isinstance(kind, Features) and _is_possible(moments, kind, fewest))


def _fits(sums: Sums, kind: Values, fewest: int) -> bool:
    """Whether sums are those of as many numbers, each within its range, of enough patients."""
    count = sums.patients
    if not (count >= fewest and len(sums.totals) == len(sums.squares) == len(kind.ranges)):
        return False
    slack = ROUNDING * count
    return all(
        low * count - slack <= total <= high * count + slack
        and total * total / count - slack <= square <= max(low * low, high * high) * count + slack
        for total, square, (low, high) in zip(sums.totals, sums.squares, kind.ranges, strict=True)
    )


def _holds(histogram: Histogram, kind: Bins, fewest: int) -> bool:
    """Whether the groups cover all bins in order, and each holds nobody or enough."""
    ends, counts = histogram.ends, histogram.counts
    ordered = len(ends) == len(counts) and ends[-1] == kind.count and list(ends) == sorted(set(ends))
    return ordered and sum(counts) >= fewest and all(count == 0 or count >= fewest for count in counts)


def _is_possible(moments: FeatureSums, kind: Features, fewest: int) -> bool:
    """Whether these are moments of enough slices of enough patients, and of any real features at all."""
    size, slices = kind.size, moments.slices
    if len(moments.total) != size or len(moments.outer) != size * (size + 1) // 2:
        return False
    if moments.patients < fewest or slices < max(moments.patients, SLICES_A_FEATURE * size):
        return False
    found, most = moments.moments, LARGEST_FEATURE * (1 + ROUNDING) * slices
    if np.abs(found.total).max() > most or np.abs(found.outer).max() > LARGEST_FEATURE * most:
        return False
    scatter = found.outer - np.outer(found.total, found.mean)
    return bool(np.linalg.eigvalsh(scatter).min() >= -ROUNDING * max(np.trace(found.outer), 1))


def _require(name: str, holds: bool) -> None:
    if not holds:
        raise _malformed(f"{name} is not of the declared kind, or of too few patients")


def _malformed(what: str) -> WireError:
    return WireError("malformed-assessment", what)


def mean_of(sums: Sums, number: int) -> float:
    """Return the mean over patients of one of the numbers."""
    return sums.totals[number] / sums.patients


def deviation_of(sums: Sums, number: int) -> float | None:
    """Return the standard deviation over patients of one of the numbers; None of a single patient."""
    if sums.patients < 2:
        return None
    variance = sums.squares[number] / sums.patients - mean_of(sums, number) ** 2
    return math.sqrt(max(0.0, variance * sums.patients / (sums.patients - 1)))
