"""Copies of trained patients among the drawings of the released generators: what the sites say, and what it adds up to.

A site draws its held-out patients and counts those whose drawing is a copy (`common.attacks.nearness`); fewer than
its minimum count, but not nobody, it says as that count, so that a bound can only grow.
"""

from __future__ import annotations

from collections.abc import Mapping

from common.assessment.attack_figures import MemorisationFigure, MemorisationFigures
from common.assessment.declared import Declared, Values
from common.assessment.findings import Findings, mean_of
from common.attacks.bounds import patients_for_share, share_at_most
from common.attacks.nearness import LARGEST_RATIO
from common.plan import Plan
from common.settings.stages import Stage
from common.study import Study

MEMORISATION = "memorisation"

DRAWING = (Stage.GENERATOR, Stage.SYNTHESISER, Stage.MAPS)
"""The stages whose release draws pictures."""


def copies_name(stage: Stage) -> str:
    """Return under which name a stage's copies are declared."""
    return f"{MEMORISATION}/{stage.value}/copied"


def attacked(study: Study) -> tuple[Stage, ...]:
    """Return the released stages whose drawings are examined: a private one only where a limit asks for it.

    How near the drawings lie to patients that were trained on is told without noise.
    """
    if not study.attacks.enabled:
        return ()
    limited = study.attacks.memorised_limit is not None
    drawing = (stage for stage in study.stages.released if stage in DRAWING)
    return tuple(stage for stage in drawing if limited or not study.privacy.covers(stage))


def declare(study: Study, plan: Plan, site: str) -> dict[str, Declared]:
    """Return what a site may say of the study's drawing models: per patient whether it is a copy, and its nearness."""
    pair = Values(ranges=((0.0, 1.0), (0.0, LARGEST_RATIO)))
    return {copies_name(stage): pair for stage in attacked(study)}


def reduce(study: Study, findings: Mapping[str, Findings]) -> MemorisationFigures | None:
    """Add up the sites' copies; None where nobody could say anything."""
    confidence = study.attacks.confidence
    figures: dict[Stage, MemorisationFigure] = {}
    for stage in study.stages.released:
        told = [found.sums[copies_name(stage)] for found in findings.values() if copies_name(stage) in found.sums]
        patients = sum(sums.patients for sums in told)
        if not patients:
            continue
        copied = min(sum(round(sums.totals[0]) for sums in told), patients)
        figures[stage] = MemorisationFigure(
            patients=patients,
            copied=copied,
            share_at_most=share_at_most(copied, patients, confidence),
            nearness=sum(sums.patients * mean_of(sums, 1) for sums in told) / patients,
        )
    return MemorisationFigures(confidence=confidence, stages=figures) if figures else None


def refusal(study: Study, figures: MemorisationFigures | None) -> str | None:
    """Say why a release exceeds the study's limit, or cannot be shown to keep it; None where it may be released."""
    limit = study.attacks.memorised_limit
    if limit is None:
        return None
    stages = {} if figures is None else figures.stages
    silent = [stage.value for stage in study.stages.released if stage in DRAWING and stage not in stages]
    if silent:
        return (
            f"no drawing of {', '.join(silent)} could be held against trained patients, and attacks.memorised_limit is "
            f"{limit:g}; a site needs reporting.minimum_count held-out patients with a real picture of what is drawn"
        )
    worst = max(stages, key=lambda stage: stages[stage].share_at_most)
    found = stages[worst]
    if found.share_at_most <= limit:
        return None
    needed = patients_for_share(limit, study.attacks.confidence)
    return (
        f"{found.copied} of {found.patients} drawings of the {worst.value} copy a trained patient, a share of at most "
        f"{found.share_at_most:.3f}; attacks.memorised_limit is {limit:g}, which {needed} held-out patients without "
        "a copy would be needed to show"
    )
