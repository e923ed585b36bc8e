"""Which patients train and which are held out: by patient, never by case or slice, and the same on every run."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from common.seeding import derive_seed


@dataclass(frozen=True)
class Split:
    """Patient keys, sorted; no key is in both."""

    training: tuple[str, ...]
    held_out: tuple[str, ...]


def split_patients(patients: Iterable[str], holdout_fraction: float, seed: int) -> Split:
    """Split distinct patient keys by a hash keyed with `seed`.

    `fraction x patients`, rounded half up, are held out: none where the fraction is 0 or there is a single patient,
    otherwise at least one, and at least one stays in training. The order of `patients` and repeats do not matter.
    """
    keys = sorted(set(patients))
    count = 0
    if holdout_fraction > 0 and len(keys) > 1:
        count = min(max(1, math.floor(holdout_fraction * len(keys) + 0.5)), len(keys) - 1)
    ranked = sorted(keys, key=lambda key: (derive_seed(seed, "split", key), key))
    return Split(training=tuple(sorted(ranked[count:])), held_out=tuple(sorted(ranked[:count])))


def split_one_by_one(patients: Iterable[str], holdout_fraction: float, seed: int) -> Split:
    """Split distinct patient keys by a lot of each one's own, keyed with `seed`: a study that trains privately asks it.

    Where a patient goes does not depend on who else is there, so about `fraction x patients` are held out: possibly
    none, or all.
    """
    keys = sorted(set(patients))
    out = {key for key in keys if derive_seed(seed, "split", key) < holdout_fraction * 2**63}
    return Split(training=tuple(key for key in keys if key not in out), held_out=tuple(sorted(out)))
