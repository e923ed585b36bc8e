"""What the attacks found, as Markdown tables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from statistics import fmean

import numpy as np
from numpy.typing import NDArray

from common.assessment.dossier import Dossier
from common.metrics.classification import area_under_roc
from simulations.attacks.inversion_trials import InversionTrial
from simulations.attacks.likelihood_ratio import Shadows, likelihood_ratios

FALSE_ALARMS = 0.1


def tables(dossier: Dossier, shadows: Mapping[int, Shadows], inversions: Iterable[InversionTrial]) -> str:
    """Return four tables: membership and copies at the sites, shadow models, inverted updates."""
    parts = [
        _table("membership by loss, at the sites", MEMBERSHIP, _membership(dossier)),
        _table("copies of trained patients, at the sites", COPIES, _copies(dossier)),
        _table("shadow models of the maps' stage", SHADOWS, _shadows(shadows)),
        _table("inverted updates", INVERSIONS, _inversions(inversions)),
    ]
    return "\n".join(parts)


MEMBERSHIP = ("attack", "members", "strangers", "area", "area at most", "caught")
COPIES = ("model", "patients", "copies", "share at most", "nearness")
SHADOWS = ("steps", "error, members", "error, strangers", "area by loss", "area by shadows", "caught by loss",
           "caught by shadows")  # fmt: skip
INVERSIONS = ("network", "update", "correlation", "SSIM", "PSNR, dB", "mean picture: correlation", "SSIM", "PSNR, dB")


def _membership(dossier: Dossier) -> list[list[str]]:
    figures = {} if dossier.membership is None else dossier.membership.attacks
    return [
        [name, f"{each.members}", f"{each.strangers}", f"{each.auc:.2f}", f"{each.auc_at_most:.2f}",
         f"{each.caught:.2f}"]
        for name, each in figures.items()
    ]  # fmt: skip


def _copies(dossier: Dossier) -> list[list[str]]:
    figures = {} if dossier.memorisation is None else dossier.memorisation.stages
    return [
        [stage.value, f"{each.patients}", f"{each.copied}", f"{each.share_at_most:.2f}", f"{each.nearness:.2f}"]
        for stage, each in figures.items()
    ]


def _shadows(found: Mapping[int, Shadows]) -> list[list[str]]:
    rows = []
    for steps, shadows in found.items():
        inside, ratios = shadows.inside, likelihood_ratios(shadows)
        errors = [shadows.losses[side].mean() for side in (inside, ~inside)]
        areas = [mean_area(scores, inside) for scores in (-shadows.losses, ratios)]
        caught = [share_caught(scores, inside) for scores in (-shadows.losses, ratios)]
        rows.append([f"{steps}", *(f"{each:.1f}" for each in errors), *(f"{each:.2f}" for each in (*areas, *caught))])
    return rows


def mean_area(scores: NDArray[np.float64], inside: NDArray[np.bool_]) -> float:
    """Return the mean over models of the area under the ROC curve, scores (models, patients)."""
    areas = (area_under_roc(row.tolist(), there.tolist()).value for row, there in zip(scores, inside, strict=True))
    return fmean(area for area in areas if area is not None)


def share_caught(scores: NDArray[np.float64], inside: NDArray[np.bool_]) -> float:
    """Return the mean over models of the members found at a tenth of false alarms."""
    shares = []
    for row, there in zip(scores, inside, strict=True):
        threshold = np.quantile(row[~there], 1 - FALSE_ALARMS, method="higher")
        shares.append(float((row[there] > threshold).mean()))
    return fmean(shares)


def _inversions(found: Iterable[InversionTrial]) -> list[list[str]]:
    return [
        [trial.network, trial.update]
        + [f"{number:.2f}" if place < 2 else f"{number:.1f}"
           for each in (trial.recovered, trial.reference)
           for place, number in enumerate((each.correlation, each.ssim, each.psnr_db))]
        for trial in found
    ]  # fmt: skip


def _table(title: str, columns: tuple[str, ...], rows: list[list[str]]) -> str:
    lines = [f"## {title}", "", "| " + " | ".join(columns) + " |", "|---" * len(columns) + "|"]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows), ""])
