"""The identifier on held-out patients of known status, without any real T1Gd: the bin of each patient's score."""

from __future__ import annotations

from collections.abc import Callable
from statistics import fmean
from typing import cast

from torch import Tensor

from client.assessment.examination import Examination, Observed
from client.inference.identify import identify_volume, slice_probabilities
from client.training.drawn_hypotheses import draw_or_recall
from client.training.filled_inputs import enhancing_label
from client.training.identification_step import open_drawer
from client.training.validation import has_known_status
from common.assessment.histogram import bin_of
from common.assessment.roc import BINS, DISRUPTED, HIGHEST, INTACT, LOWEST
from common.settings.stages import Stage


def assess(exam: Examination) -> Observed:
    """Return the bins of either status; a patient in whom no tumour is found scores 0, in the middle."""
    store, settings = exam.held_out, exam.study.stages.identifier
    if settings is None:
        raise ValueError("the study has no identifier stage")
    identifier = cast(Callable[[Tensor], Tensor], exam.models[Stage.IDENTIFIER])
    groups = store.patients(has_known_status)
    drawn = draw_or_recall(open_drawer(exam.place(store)), store, [index for each in groups.values() for index in each])
    bins: dict[str, dict[str, int]] = {DISRUPTED: {}, INTACT: {}}
    for patient, indices in groups.items():
        scores = [
            identify_volume(
                *slice_probabilities(identifier, drawn[index].read(), contrastive=settings.contrastive)
            ).score
            for index in indices
        ]
        status = DISRUPTED if enhancing_label(store.cases[indices[0]]) else INTACT
        bins[status][patient] = bin_of(fmean(scores), LOWEST, HIGHEST, BINS)
    return Observed(bins=bins)
