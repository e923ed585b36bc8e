"""What drawn hypotheses are worth on held-out phantoms: error, sharpness, distance, and the barrier's AUC."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from statistics import fmean, median

import numpy as np
from numpy.typing import NDArray
from scipy.stats import pearsonr

from client.inference.synthesise import HypothesesVolume
from common.metrics.classification import area_under_roc
from common.metrics.fidelity import mean_absolute_error, to_greys
from common.metrics.proportion import binomial_interval
from common.metrics.sharpness import sharpness
from common.sequences import Sequence
from simulations.ablations.feature_encoder import FeatureEncoder
from simulations.ablations.records import Figures
from simulations.comparison.subject import Subject

Draw = Callable[[Subject], HypothesesVolume | None]
Score = Callable[[Subject, HypothesesVolume], float]
ENHANCED_GREYS = 10.0
"""Least rise of the core's mean, of 255 grey levels, that counts as drawn enhancement."""

MAD_TO_SD = 1.4826
"""Standard deviation of a normal variable over its median absolute deviation."""


@dataclass(frozen=True)
class Drawn:
    """One subject's hypotheses, and how long they took."""

    subject: Subject
    volumes: HypothesesVolume
    seconds: float

    @property
    def right(self) -> NDArray[np.float32]:
        """The hypothesis that is true, (K, H, W) in [-1, 1]."""
        return self.volumes.enhancing if self.subject.truth.bbb_disrupted else self.volumes.non_enhancing

    @property
    def wrong(self) -> NDArray[np.float32]:
        """The other one."""
        return self.volumes.non_enhancing if self.subject.truth.bbb_disrupted else self.volumes.enhancing

    @property
    def real(self) -> NDArray[np.float32]:
        """The true T1Gd."""
        return self.subject.truth.slices(Sequence.T1GD)


def draw_all(subjects: Iterable[Subject], draw: Draw) -> list[Drawn]:
    """Draw every subject that has a tumour core, the conditions and a true T1Gd to compare with."""
    found = []
    for subject in subjects:
        if subject.core.any() and Sequence.T1GD in subject.truth.sequences:
            began = time.perf_counter()
            volumes = draw(subject)
            if volumes is not None:
                found.append(Drawn(subject, volumes, time.perf_counter() - began))
    return found


def measure_drawings(drawn: list[Drawn], score: Score | None, encoder: FeatureEncoder) -> Figures:
    """Return the means over patients; errors in grey levels, of the hypothesis that is true.

    `flips` is the share of patients in whom the label moves the drawn core's mean by `ENHANCED_GREYS` or more, in the
    right direction, with its exact 95 % interval. FD compares the slices that show tumour. AUC has DeLong's interval;
    `score` None leaves it out.
    """
    brain = [mean_absolute_error(to_greys(one.right), to_greys(one.real), one.subject.brain) for one in drawn]
    core = [mean_absolute_error(to_greys(one.right), to_greys(one.real), one.subject.core) for one in drawn]
    sharp = [sharpness(one.right, one.real, one.subject.lesion) for one in drawn]
    flipped = sum(flips(one) for one in drawn)
    low, high = binomial_interval(flipped, len(drawn))
    figures: Figures = {
        "patients": len(drawn),
        "brain MAE": _mean(brain),
        "core MAE": _mean(core),
        "sharpness": median(values) if (values := [one for one in sharp if one is not None]) else None,
        "FD": encoder.distance(
            [one.right[_rows(one.subject)] for one in drawn], [one.real[_rows(one.subject)] for one in drawn]
        ),
        "flips": flipped / len(drawn),
        "flips low": low,
        "flips high": high,
        "seconds": fmean(one.seconds for one in drawn),
    }
    if score is not None:
        area = area_under_roc(
            [score(one.subject, one.volumes) for one in drawn],
            [bool(one.subject.truth.bbb_disrupted) for one in drawn],
        )
        figures |= {"AUC": area.value, "AUC low": area.low, "AUC high": area.high}
    return figures


def flips(one: Drawn) -> bool:
    """Whether the enhancing label draws the core's mean brighter than the other label by `ENHANCED_GREYS` or more."""
    core = one.subject.core
    change = to_greys(one.volumes.enhancing)[core].mean() - to_greys(one.volumes.non_enhancing)[core].mean()
    return bool(change >= ENHANCED_GREYS)


def error_correlation(one: Drawn) -> float | None:
    """Return Pearson's r of the SD map with the absolute error, of one patient; None without an SD map.

    Over the voxels inside the brain that gadolinium changed. In whole greys most voxels do not change at all (the
    published images: 58 %) and are skipped; here noise moves every one, so a change is what exceeds the noise, one
    robust standard deviation of T1Gd - T1 over the brain.
    """
    spread = one.volumes.enhancing_sd if one.subject.truth.bbb_disrupted else one.volumes.non_enhancing_sd
    if spread is None:
        return None
    change, brain = to_greys(one.real) - to_greys(one.subject.truth.slices(Sequence.T1)), one.subject.brain
    noise = MAD_TO_SD * np.median(np.abs(change[brain] - np.median(change[brain])))
    inside = brain & (np.abs(change) > noise)
    error = np.abs(to_greys(one.right) - to_greys(one.real))
    return float(pearsonr(spread[inside], error[inside]).statistic)


def _rows(subject: Subject) -> NDArray[np.intp]:
    """Return the numbers of the slices that show tumour."""
    return np.flatnonzero(subject.lesion.any(axis=(1, 2)))


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return fmean(known) if known else None
