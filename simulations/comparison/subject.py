"""The patients that are measured: what the site has of them, and the truth they are measured against."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from client.data.cache import CachedCase, LabelKind
from client.inference.fill import Translator, pick_domain, translate_volume
from common.sequences import STRUCTURAL, Domain, Sequence

NCR, ET = 1, 4
SAMPLED_EVERY = 2
ALL_SITES = "all"
Found = TypeVar("Found")


@dataclass(frozen=True)
class Subject:
    """One case of one patient on the study grid.

    Attributes:
        site: its hospital.
        own: what the hospital has; completions start from it.
        truth: every sequence and full labels where the case is a phantom's; what the hospital has where it is real.
    """

    site: str
    own: CachedCase
    truth: CachedCase

    @cached_property
    def brain(self) -> NDArray[np.bool_]:
        """Brain mask of the truth, (K, H, W)."""
        return self.truth.brain() > 0

    @cached_property
    def labels(self) -> NDArray[np.uint8]:
        """Tumour labels of the truth, (K, H, W); zeros where it has none."""
        return self.truth.labels()

    @property
    def lesion(self) -> NDArray[np.bool_]:
        """Whole tumour, (K, H, W)."""
        whole: NDArray[np.bool_] = self.labels > 0
        return whole

    @property
    def core(self) -> NDArray[np.bool_]:
        """Tumour core (NCR and ET); the whole tumour where nothing finer is marked."""
        if self.truth.label_kind is not LabelKind.FULL:
            return self.lesion
        core: NDArray[np.bool_] = (self.labels == NCR) | (self.labels == ET)
        return core

    @cached_property
    def sampled(self) -> tuple[int, ...]:
        """Every second slice that shows brain, and the fullest: neighbours say the same, and cost as much."""
        occupied = np.flatnonzero(self.brain.any(axis=(1, 2))).tolist()
        return tuple(sorted({*occupied[::SAMPLED_EVERY], self.fullest_slice}))

    @property
    def fullest_slice(self) -> int:
        """The slice with the most tumour, or with the most brain where there is no tumour."""
        mask = self.lesion if self.lesion.any() else self.brain
        return int(mask.sum(axis=(1, 2)).argmax())


@dataclass(frozen=True)
class Pencil:
    """A released generator with the domains it was trained on, as it is used at a site; it draws nothing twice.

    Attributes:
        generator: draws slices.
        domains: those that some site trained.
        reference_site: whose style serves where a site has no domain of its own.
        sequences: those of the study, which are measured.
    """

    generator: Translator
    domains: tuple[Domain, ...]
    reference_site: str
    sequences: tuple[Sequence, ...] = STRUCTURAL
    drawn: dict[tuple[object, ...], NDArray[np.float32]] = field(default_factory=dict, repr=False)

    def domain(self, site: str, sequence: Sequence) -> Domain | None:
        """Return the domain in which `sequence` is drawn for `site`, None where nobody holds it."""
        return pick_domain(self.domains, sequence, site, self.reference_site)

    def draw(
        self, subject: Subject, source: Sequence, domain: Domain, numbers: tuple[int, ...] | None = None
    ) -> NDArray[np.float32]:
        """Return slices `numbers`, or all, of the true `source` as `domain` draws them, (K, H, W) in [-1, 1]."""
        truth, key = subject.truth, (subject.truth.path, source, domain, numbers)
        if key not in self.drawn:
            rows = slice(None) if numbers is None else list(numbers)
            slices, brain = truth.slices(source)[rows], truth.brain()[rows]
            self.drawn[key] = translate_volume(self.generator, slices, domain, brain=brain)
        return self.drawn[key]


def by_site(found: Iterable[tuple[Subject, Found]]) -> Iterator[tuple[str, list[Found]]]:
    """Yield `all` with what was found of every subject, then each site, in sorted order, with its own."""
    every = list(found)
    yield ALL_SITES, [one for _, one in every]
    for site in sorted({subject.site for subject, _ in every}):
        yield site, [one for subject, one in every if subject.site == site]
