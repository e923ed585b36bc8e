"""Slices of a site's cached cases as batches: patient first, then case, then slice, by an explicit generator."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from copy import copy
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from client.data.cache import CachedCase, LabelKind
from common.sequences import Sequence

LABEL_CODES = {LabelKind.NONE: 0, LabelKind.WHOLE: 1, LabelKind.FULL: 2}


@dataclass(frozen=True)
class SliceBatch:
    """Slices of B cases, with whatever each case lacks marked as absent.

    Attributes:
        images: per sequence (B, 1, H, W) float32 in [-1, 1]; -1 everywhere where absent.
        present: per sequence (B,) bool: the image is real and was there.
        brain: (B, 1, H, W) bool.
        labels: (B, H, W) uint8: 0, 1 NCR, 2 ED, 4 ET, or 1 for a whole tumour.
        label_kind: (B,) int64: 0 no labels, 1 whole tumour only, 2 full.
        bbb: (B,) int64: 1 disrupted, 0 intact, -1 unknown.
        case_index: (B,) int64, index into the store's cases.
        slice_index: (B,) int64, slice number within the case.
    """

    images: dict[Sequence, Tensor]
    present: dict[Sequence, Tensor]
    brain: Tensor
    labels: Tensor
    label_kind: Tensor
    bbb: Tensor
    case_index: Tensor
    slice_index: Tensor

    @property
    def whole_tumour(self) -> Tensor:
        """Whole-tumour mask (B, 1, H, W) bool; empty where the case has no labels (see `label_kind`)."""
        return (self.labels > 0)[:, None]


class CaseStore:
    """A fixed list of cached cases from which batches are drawn.

    Slices with less than `minimum_brain` of the largest slice's brain area are left out. Patients are drawn with
    equal probability, then one of their cases, then one of its slices; slices that carry tumour are drawn with
    probability `tumour_share` where a case has any.

    `gone` are the cases of withdrawn patients: nothing is drawn from them, but who is dealt into which part of the
    others must not change with their going.
    """

    def __init__(
        self,
        cases: Iterable[CachedCase],
        sequences: tuple[Sequence, ...],
        minimum_brain: float = 0.03,
        tumour_share: float = 0.5,
        gone: Iterable[CachedCase] = (),
    ) -> None:
        self.cases, self.gone = tuple(cases), tuple(gone)
        self._fitting = lru_cache(maxsize=64)(self._fitting_now)
        self.sequences = sequences
        self.tumour_share = tumour_share
        self.usable: list[np.ndarray] = []
        self.with_tumour: list[np.ndarray] = []
        for case in self.cases:
            area = case.brain().sum(axis=(1, 2))
            usable = np.flatnonzero(area >= max(1.0, minimum_brain * area.max()))
            tumour_area = (case.labels() > 0).sum(axis=(1, 2))
            self.usable.append(usable)
            self.with_tumour.append(usable[tumour_area[usable] > 0])

    def of_patient(self, patient: str) -> CaseStore:
        """Return the same store with the cases of `patient` alone; unknown to it, none."""
        one = copy(self)
        kept = [index for index, case in enumerate(self.cases) if case.patient == patient]
        one.cases = tuple(self.cases[index] for index in kept)
        one.usable = [self.usable[index] for index in kept]
        one.with_tumour = [self.with_tumour[index] for index in kept]
        one._fitting = lru_cache(maxsize=64)(one._fitting_now)
        return one

    def patients(self, wanted: Callable[[CachedCase], bool] = lambda case: True) -> dict[str, list[int]]:
        """Return patient key → indices of the cases that `wanted` accepts, patients sorted."""
        found: dict[str, list[int]] = {}
        for index, case in enumerate(self.cases):
            if wanted(case) and len(self.usable[index]):
                found.setdefault(case.patient, []).append(index)
        return dict(sorted(found.items()))

    def _fitting_now(self, wanted: Callable[[CachedCase], bool]) -> list[list[int]]:
        """Return the cases that `wanted` accepts, patient by patient; remembered, for each row of a batch asks anew."""
        return list(self.patients(wanted).values())

    def draw(
        self, count: int, generator: torch.Generator, wanted: Callable[[CachedCase], bool] = lambda case: True
    ) -> SliceBatch:
        """Draw `count` slices from cases that `wanted` accepts. Raises ValueError where there is none."""
        picks: list[tuple[int, int]] = []
        for index in self.draw_cases(count, generator, wanted):
            prefer = torch.rand((), generator=generator).item() < self.tumour_share
            pool = self.with_tumour[index] if prefer and len(self.with_tumour[index]) else self.usable[index]
            picks.append((index, int(pool[draw_below(len(pool), generator)])))
        return self.take(picks)

    def draw_cases(self, count: int, generator: torch.Generator, wanted: Callable[[CachedCase], bool]) -> Iterator[int]:
        """Yield indices of `count` cases that `wanted` accepts, each drawn when it is needed, patient first.

        Give the same function for the same question: what it accepts is found once.

        Raises:
            ValueError: where there is none.
        """
        patients = self._fitting(wanted)
        if not patients:
            raise ValueError("no case of this site fits")
        for _ in range(count):
            indices = patients[draw_below(len(patients), generator)]
            yield indices[draw_below(len(indices), generator)]

    def take(self, picks: list[tuple[int, int]], sequences: Iterable[Sequence] | None = None) -> SliceBatch:
        """Return the slices `(case index, slice index)` as one batch, of all the store's sequences or of some alone."""
        cases = [self.cases[index] for index, _ in picks]
        height, width = cases[0].brain().shape[1:]
        images: dict[Sequence, Tensor] = {}
        present: dict[Sequence, Tensor] = {}
        for sequence in self.sequences if sequences is None else sequences:
            stack = np.full((len(picks), 1, height, width), -1, dtype=np.float32)
            has = [sequence in case.sequences for case in cases]
            for row, case in enumerate(cases):
                if has[row]:
                    stack[row, 0] = case.slices(sequence)[picks[row][1]]
            images[sequence] = torch.from_numpy(stack)
            present[sequence] = torch.tensor(has)
        rows = list(zip(cases, (number for _, number in picks), strict=True))
        status = [-1 if case.bbb_disrupted is None else int(case.bbb_disrupted) for case in cases]
        return SliceBatch(
            images=images,
            present=present,
            brain=torch.from_numpy(np.stack([case.brain()[k] for case, k in rows])[:, None] > 0),
            labels=torch.from_numpy(np.stack([case.labels()[k] for case, k in rows])),
            label_kind=torch.tensor([LABEL_CODES[case.label_kind] for case in cases]),
            bbb=torch.tensor(status),
            case_index=torch.tensor([index for index, _ in picks]),
            slice_index=torch.tensor([number for _, number in picks]),
        )


def draw_below(limit: int, generator: torch.Generator) -> int:
    """Draw a whole number from 0 to `limit` - 1."""
    return int(torch.randint(limit, (), generator=generator).item())
