"""One site's validation patients before the averaged identifier: decisions on a grid of thresholds, and scores.

Nothing is trained. Whole volumes are judged by the very rule of inference, without any real T1Gd, and only means over
the patients of either status leave the site, where each status has enough of them. A cell of such a mean may hold a
single patient: it then tells that somebody's score lies in a bin, or is decided so by a pair of thresholds, not whose.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from client.data.dataset import CaseStore
from client.inference.identify import Slices, identify_volume, slice_probabilities
from client.training.drawn_hypotheses import HypothesisDrawer, KeptWindows, draw_or_recall
from client.training.filled_inputs import enhancing_label
from client.training.identification_step import open_drawer
from client.training.trainer import NothingToTrainError
from client.training.update import Counted
from client.training.validation import has_known_status, validation_part
from client.training.workplace import Workplace
from common.metrics.operating_point import DECISIONS, SLICE_THRESHOLDS, TABLE_SHAPE, VOLUME_THRESHOLDS
from common.metrics.platt import BINS, bin_of
from common.nets.validation_table import ValidationTable
from common.parameters import STATISTICS
from common.settings.stages import Stage


class CalibrationStep:
    """Fills a table with what the validation patients say; a "step" is the whole of it."""

    def __init__(
        self,
        model: ValidationTable,
        store: CaseStore,
        drawer: HypothesisDrawer,
        identifier: nn.Module,
        device: torch.device,
        *,
        contrastive: bool,
    ) -> None:
        self.table, self.store, self.drawer = model, store, drawer
        self.model: nn.Module = model
        self.identifier, self.contrastive = identifier.to(device), contrastive
        self.optimisers: Mapping[str, torch.optim.Optimizer] = {}
        self.groups = store.patients(has_known_status)
        if not self.groups:
            raise NothingToTrainError("no patient is kept for validation")

    def draw(self, generator: torch.Generator) -> dict[int, KeptWindows]:
        """Return the windows of every validation case by its index; nothing here is random."""
        return draw_or_recall(self.drawer, self.store, [index for group in self.groups.values() for index in group])

    def __call__(self, batch: dict[int, KeptWindows]) -> dict[str, float]:
        """Score all patients and fill the table; there is no loss to report."""
        decisions, scores = torch.zeros(TABLE_SHAPE, dtype=torch.float64), torch.zeros(2, BINS, dtype=torch.float64)
        for indices in self.groups.values():
            for index in indices:
                share = 1 / (len(indices) * len(self.groups))
                found = slice_probabilities(self.identifier, batch[index].read(), contrastive=self.contrastive)
                status = enhancing_label(self.store.cases[index])
                assert status is not None, "only cases of known status are scored"  # noqa: S101
                count_case(decisions, scores, *found, status, share)
        self.table.fill(decisions, scores)
        return {}

    def evaluate(self, store: CaseStore) -> dict[str, Counted]:
        """Return nothing: the table is the result."""
        return {}

    def patients(self) -> dict[str, int]:
        """Return the number of validation patients."""
        return {STATISTICS: len(self.groups)}

    def behind(self) -> dict[str, int]:
        """Return the patients of the rarer status, if both are there: either is counted by itself in the table."""
        found = Counter(enhancing_label(self.store.cases[indices[0]]) for indices in self.groups.values())
        return {STATISTICS: min(found.values())}


def count_case(
    decisions: Tensor, scores: Tensor, enhancing: Slices, non_enhancing: Slices, status: int, share: float
) -> None:
    """Add one case of weight `share` to a site's sums.

    Args:
        decisions, scores: the sums, `TABLE_SHAPE` and (2, BINS).
        enhancing, non_enhancing: consistency of either hypothesis, (n,), for the same slices.
        status: 1 disrupted, 0 intact.
        share: the case's weight.
    """
    for row, slice_threshold in enumerate(SLICE_THRESHOLDS):
        for column, volume_threshold in enumerate(VOLUME_THRESHOLDS):
            result = identify_volume(enhancing, non_enhancing, slice_threshold, volume_threshold)
            decisions[row, column, status, DECISIONS.index(result.status)] += share
    if len(enhancing):
        scores[status, bin_of(identify_volume(enhancing, non_enhancing).score)] += share


def build_step(model: nn.Module, place: Workplace) -> CalibrationStep:
    """Return the calibration's step at a site. Raises NothingToTrainError where no patient is kept for validation."""
    settings = place.study.stages.identifier
    if settings is None or not isinstance(model, ValidationTable):
        raise ValueError("the study has no identifier stage, or the model is not the validation table")
    drawer = open_drawer(place)
    part = validation_part(place.store, place.study)
    return CalibrationStep(
        model, part, drawer, place.frozen[Stage.IDENTIFIER], place.device, contrastive=settings.contrastive
    )
