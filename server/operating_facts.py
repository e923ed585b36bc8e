"""How a release decides the BBB status: thresholds and calibration, fitted on the sites' summed validation patients."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file

from common.metrics.operating_point import best_operating_point
from common.metrics.platt import fit_platt
from common.parameters import STATISTICS
from common.release import Calibration, IdentifierFacts
from common.settings.stages import IdentifierStage, Stage
from server.journal import Journal
from server.validation_shares import false_shares

Counts = NDArray[np.float64]

NOBODY_KEPT = "the study's own: no patients were kept for validation"
NOBODY_SENT = "the study's own: no site has enough validation patients for their counts to leave it"
NO_SHARES = "the study's own: what the sites' validation patients sum to is no share of them"
ONE_STATUS = "the study's own: all validation patients have the same status"

FIXED_POINT_SLACK = 0.1
"""How far sums of shares may be off that were formed in fixed point of few bits, under masks, where no gate looks."""


def identifier_facts(journal: Journal) -> IdentifierFacts | None:
    """Return the facts of a finished run; None where the study trains no identifier."""
    settings = journal.study.stages.identifier
    if settings is None:
        return None
    if journal.study.stages.of(Stage.CALIBRATION) is None:
        return _unfitted(settings, NOBODY_KEPT, {})
    behind = _patients(journal)
    if not behind:
        return _unfitted(settings, NOBODY_SENT, {})
    table = load_file(journal.weights(Stage.CALIBRATION))
    decisions, scores = table[f"{STATISTICS}.decisions"], table[f"{STATISTICS}.scores"]
    return fitted_facts(settings, decisions, scores, behind)


def fitted_facts(
    settings: IdentifierStage, decisions: Counts, scores: Counts, behind: dict[str, int]
) -> IdentifierFacts:
    """Fit both thresholds and the calibration.

    Args:
        settings: the study's; its thresholds hold where there is nothing to fit on.
        decisions, scores: means over all validation patients, as `common.nets.validation_table` says.
        behind: site → its validation patients.
    """
    if false_shares(decisions, scores, FIXED_POINT_SLACK) is not None:
        return _unfitted(settings, NO_SHARES, behind)
    best = best_operating_point(decisions)
    if best is None:
        return _unfitted(settings, ONE_STATUS, behind)
    patients = sum(behind.values())
    curve = fit_platt(scores * patients)
    return IdentifierFacts(
        slice_threshold=best.slice_threshold,
        volume_threshold=best.volume_threshold,
        fitted=True,
        note=f"best F1 of a disrupted barrier on {patients} validation patients",
        validation=behind,
        f1=best.f1,
        calibration=None if curve is None else Calibration(slope=curve.slope, intercept=curve.intercept),
        abstain_margin=settings.abstain_margin,
        contrastive=settings.contrastive,
    )


def _unfitted(settings: IdentifierStage, note: str, behind: dict[str, int]) -> IdentifierFacts:
    return IdentifierFacts(
        slice_threshold=settings.slice_threshold,
        volume_threshold=settings.volume_threshold,
        note=note,
        validation=behind,
        abstain_margin=settings.abstain_margin,
        contrastive=settings.contrastive,
    )


def _patients(journal: Journal) -> dict[str, int]:
    """Return each site's validation patients, by the record of the calibration's one round."""
    (record,) = journal.records(Stage.CALIBRATION)
    return {
        site: entry["patients"][STATISTICS]
        for site, entry in sorted(record["sites"].items())
        if STATISTICS in entry.get("patients", {})
    }
