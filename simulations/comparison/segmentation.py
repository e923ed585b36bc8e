"""The segmenter on complete patients, and on the same patients with one sequence taken away and filled."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence as Items
from dataclasses import dataclass
from statistics import fmean
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from client.data.cache import LabelKind
from client.inference.fill import pick_source
from client.inference.segment import labels_of, segment_volume, without_specks
from common.metrics.overlap import dice, hausdorff95_mm
from common.sequences import STRUCTURAL, Sequence
from simulations.comparison.subject import ET, NCR, Pencil, Subject, by_site
from simulations.report.measures import Segmentation

Region = Literal["WT", "TC", "ET"]
REGIONS: dict[Region, tuple[int, ...]] = {"WT": (1, 2, 4), "TC": (NCR, ET), "ET": (ET,)}
WITHOUT: tuple[Sequence | None, ...] = (None, *STRUCTURAL)
Model = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class _Found:
    """Overlap on one subject; finer regions are left out where its labels mark the whole tumour only."""

    dice: dict[Region, float]
    hd95_mm: float


def segment_subject(
    subject: Subject, model: Model, pencil: Pencil, without: Sequence | None
) -> NDArray[np.uint8] | None:
    """Return labels 0 / 1 / 2 / 4, (K, H, W), with `without` filled from the other sequences; None if impossible."""
    truth = subject.truth
    images = {sequence: truth.slices(sequence) for sequence in STRUCTURAL if sequence in truth.sequences}
    if len(images) < len(STRUCTURAL):
        return None
    if without is not None:
        source, domain = pick_source(without, set(images) - {without}), pencil.domain(subject.site, without)
        if source is None or domain is None:
            return None
        images[without] = pencil.draw(subject, source, domain)
    stack = np.stack([images[sequence] for sequence in STRUCTURAL])
    voxel_ml = float(abs(np.linalg.det(truth.affine[:3, :3]))) / 1000
    return without_specks(labels_of(segment_volume(model, stack)), voxel_ml)


def compare_segmentation(
    subjects: Items[Subject], model: Model, pencil: Pencil, on_subject: Callable[[], None]
) -> tuple[Segmentation, ...]:
    """Measure every subject that has labels and all four structural sequences, over all sites and each."""
    found: list[tuple[Subject, dict[Sequence | None, _Found]]] = []
    for subject in subjects:
        if subject.truth.label_kind is not LabelKind.NONE:
            drawn = {without: segment_subject(subject, model, pencil, without) for without in WITHOUT}
            measured = {without: _measure(subject, labels) for without, labels in drawn.items() if labels is not None}
            found.append((subject, measured))
        on_subject()
    return tuple(
        _mean(site, without, [one[without] for one in group if without in one])
        for site, group in by_site(found)
        for without in WITHOUT
    )


def _measure(subject: Subject, labels: NDArray[np.uint8]) -> _Found:
    regions: tuple[Region, ...] = ("WT", "TC", "ET") if subject.truth.label_kind is LabelKind.FULL else ("WT",)
    i, j, k = (float(step) for step in np.linalg.norm(subject.truth.affine[:3, :3], axis=0))
    found = {name: dice(np.isin(labels, REGIONS[name]), np.isin(subject.labels, REGIONS[name])) for name in regions}
    if regions == ("WT",):
        found = {"WT": dice(labels > 0, subject.lesion)}
    return _Found(found, hausdorff95_mm(labels > 0, subject.lesion, (k, i, j)))


def _mean(site: str, without: Sequence | None, found: list[_Found]) -> Segmentation:
    values = {name: [one.dice[name] for one in found if name in one.dice] for name in REGIONS}
    return Segmentation(
        site=site,
        filled=without,
        patients=len(found),
        dice={name: fmean(scores) if scores else None for name, scores in values.items()},
        hd95_mm=fmean(one.hd95_mm for one in found) if found else None,
    )
