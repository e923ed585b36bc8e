"""The segmenter on held-out patients who have labels, as their hospital has them: what is missing is filled."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from client.assessment.examination import Examination, Observed
from client.data.cache import LabelKind
from client.data.dataset import CaseStore
from client.inference.segment import labels_of, segment_volume, without_specks
from client.training.filled_inputs import Filler, open_filler, stack_of
from client.training.segmentation_inputs import can_train
from common.assessment.matrix import RELEASED, SEGMENTATION, SITE_ALONE
from common.metrics.overlap import dice
from common.sequences import STRUCTURAL
from common.settings.stages import Stage

PARTS = {"WT": (1, 2, 4), "TC": (1, 4), "ET": (4,)}
"""Labels that make up each region; a whole-tumour label, 1, is in the first alone."""

Model = Callable[[Tensor], Tensor]


def assess(exam: Examination) -> Observed:
    """Return each labelled patient's Dice, of the finer regions where the labels tell them apart."""
    found: dict[str, dict[str, list[float]]] = {}
    for name, models in ((RELEASED, exam.models), (SITE_ALONE, exam.alone)):
        if Stage.SEGMENTER not in models:
            continue
        store, segmenter = exam.held_out, cast(Model, models[Stage.SEGMENTER])
        filler = open_filler(exam.place(store, models))
        for patient, indices in store.patients(can_train).items():
            for index in indices:
                for region, value in _overlaps(store, index, filler, segmenter).items():
                    found.setdefault(f"{SEGMENTATION}/{name}/{region}", {}).setdefault(patient, []).append(value)
    means = {name: {who: (float(np.mean(each)),) for who, each in every.items()} for name, every in found.items()}
    return Observed(values=means)


def _overlaps(store: CaseStore, index: int, filler: Filler, model: Model) -> dict[str, float]:
    case = store.cases[index]
    labels, truth = _segmented(store, index, filler, model), case.labels()
    if case.label_kind is not LabelKind.FULL:
        return {"WT": dice(labels > 0, truth > 0)}
    return {region: dice(np.isin(labels, parts), np.isin(truth, parts)) for region, parts in PARTS.items()}


def _segmented(store: CaseStore, index: int, filler: Filler, model: Model) -> NDArray[np.uint8]:
    """Return a case's predicted labels, (K, H, W)."""
    case = store.cases[index]
    slices = store.take([(index, number) for number in range(case.depth)])
    present = {sequence: slices.present[sequence] for sequence in STRUCTURAL}
    completed = filler.fill(store, slices, present, STRUCTURAL)
    stack = np.ascontiguousarray(stack_of(completed, STRUCTURAL).numpy().transpose(1, 0, 2, 3))
    voxel_ml = float(abs(np.linalg.det(case.affine[:3, :3]))) / 1000
    return without_specks(labels_of(segment_volume(model, stack)), voxel_ml)
