"""Where 3-D patches lie: patient first, then case, then the voxel in the patch's middle, by an explicit generator."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray

from client.data.cache import CachedCase
from client.data.dataset import CaseStore, draw_below

Voxel = tuple[int, int, int]
"""Position or extent along K, H, W."""

CODES = (1, 2, 4)
BRAIN = 0


@dataclass(frozen=True)
class Place:
    """One patch: index of its case in the store, and its first voxel (K, H, W)."""

    case: int
    first: Voxel


class PatchPlaces:
    """Draws places of patches of size `window` (K, H, W) from the cases of a store.

    With probability `foreground_share` the middle is a voxel of a tumour label that the case has, each of its labels
    being as likely (nnU-Net's oversampling); else it is any voxel of the brain. At the border of the volume the patch
    is moved inside; a volume with fewer slices than the window lies in it from its first slice on.
    """

    def __init__(self, store: CaseStore, window: Voxel, foreground_share: float) -> None:
        self.store, self.window, self.foreground_share = store, window, foreground_share
        self._counts = cache(lambda index: _voxels_by_slice(store.cases[index]))

    def draw(self, count: int, generator: torch.Generator, wanted: Callable[[CachedCase], bool]) -> list[Place]:
        """Draw `count` places in cases that `wanted` accepts. Raises ValueError where there is none."""
        return [self._draw_in(index, generator) for index in self.store.draw_cases(count, generator, wanted)]

    def middle(self, index: int) -> Place:
        """Return the place around the slice with the most tumour of a case; without any, with the most brain."""
        case, counts = self.store.cases[index], self._counts(index)
        labelled = _labelled(counts)
        k = int(np.sum([counts[code] for code in labelled or [BRAIN]], axis=0).argmax())
        mask = case.labels()[k] > 0 if labelled else case.brain()[k] > 0
        h, w = (round(float(axis.mean())) for axis in np.nonzero(mask))
        return Place(index, self._first_of(case, (k, h, w)))

    def _draw_in(self, index: int, generator: torch.Generator) -> Place:
        case, counts = self.store.cases[index], self._counts(index)
        labelled = _labelled(counts)
        code = BRAIN
        if torch.rand((), generator=generator).item() < self.foreground_share and labelled:
            code = labelled[draw_below(len(labelled), generator)]
        upto = counts[code].cumsum()
        number = draw_below(int(upto[-1]), generator)
        k = int(np.searchsorted(upto, number, side="right"))
        mask = case.labels()[k] == code if code != BRAIN else case.brain()[k] > 0
        h, w = divmod(int(np.flatnonzero(mask)[number - upto[k]]), mask.shape[1])  # counted from the slice's last one
        return Place(index, self._first_of(case, (k, h, w)))

    def _first_of(self, case: CachedCase, middle: Voxel) -> Voxel:
        """Return the first voxel of the patch around `middle`, moved inside the volume."""
        sides = zip(middle, self.window, case.brain().shape, strict=True)
        k, h, w = (max(0, min(at - side // 2, limit - side)) for at, side, limit in sides)
        return k, h, w


def _voxels_by_slice(case: CachedCase) -> Mapping[int, NDArray[np.int64]]:
    """Return for each tumour label, and for the brain, its number of voxels in every slice, (K,)."""
    counts = {code: (case.labels() == code).sum(axis=(1, 2)) for code in CODES}
    return counts | {BRAIN: (case.brain() > 0).sum(axis=(1, 2))}


def _labelled(counts: Mapping[int, NDArray[np.int64]]) -> list[int]:
    return [code for code in CODES if counts[code].any()]
