"""The few fixed slices on which a stage is judged after each round."""

from __future__ import annotations

from collections.abc import Callable

from client.data.cache import CachedCase
from client.data.dataset import CaseStore, SliceBatch


def fixed_slices(store: CaseStore, wanted: Callable[[CachedCase], bool], limit: int = 12) -> SliceBatch | None:
    """Return the slice with the most tumour (without labels, the most brain) of up to `limit` patients that fit.

    One case a patient, patients in sorted order; None where none fits.
    """
    picks: list[tuple[int, int]] = []
    for indices in list(store.patients(wanted).values())[:limit]:
        case = store.cases[indices[0]]
        tumour = (case.labels() > 0).sum(axis=(1, 2))
        area = tumour if tumour.any() else case.brain().sum(axis=(1, 2))
        picks.append((indices[0], int(area.argmax())))
    return store.take(picks) if picks else None
