"""Both hypotheses about the barrier against the true T1Gd: does the label move the core, and the core alone?"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from collections.abc import Sequence as Items
from dataclasses import dataclass
from statistics import fmean

import numpy as np

from client.inference.drawing_plan import plan_of
from client.inference.synthesise import HypothesesVolume, hypotheses_volume
from common.generative.hypotheses import Synthesiser
from common.metrics.fidelity import mean_absolute_error, to_greys
from common.metrics.proportion import binomial_interval
from common.sequences import Sequence
from common.settings.stages import SynthesiserStage
from simulations.comparison.subject import Subject, by_site
from simulations.report.measures import Hypotheses


@dataclass(frozen=True)
class _Found:
    """One subject: how far the label moves core and normal tissue, and the errors under both labels."""

    core_change: float
    normal_change: float | None
    right_error: float | None
    wrong_error: float | None
    brain_error: float | None
    copy_error: float | None


def draw_subject(
    model: Synthesiser, settings: SynthesiserStage, seed: int, subject: Subject
) -> HypothesesVolume | None:
    """Draw both hypotheses from the subject's true T1 and FLAIR, or the study's conditions; None where it lacks one."""
    plan = plan_of(settings)
    if not set(plan.conditions) <= set(subject.truth.sequences):
        return None
    condition = np.stack([subject.truth.slices(sequence) for sequence in plan.conditions])
    return hypotheses_volume(model, plan, condition, seed, subject.truth.brain())


def compare_hypotheses(
    subjects: Items[Subject],
    model: Synthesiser,
    settings: SynthesiserStage,
    seed: int,
    on_subject: Callable[[], None],
) -> tuple[Hypotheses, ...]:
    """Measure every subject that has a tumour core and the study's conditions; over all sites and each.

    Args:
        subjects: the patients.
        model: the released synthesiser.
        settings: the study's, for its schedule and steps.
        seed: of the noise.
        on_subject: called after each subject.
    """
    found: list[tuple[Subject, _Found]] = []
    for subject in subjects:
        drawn = draw_subject(model, settings, seed, subject) if subject.core.any() else None
        if drawn is not None:
            found.append((subject, _measure(subject, drawn)))
        on_subject()
    return tuple(_mean(site, group) for site, group in by_site(found))


def _measure(subject: Subject, drawn: HypothesesVolume) -> _Found:
    plus, minus = to_greys(drawn.enhancing), to_greys(drawn.non_enhancing)
    normal = subject.brain & ~subject.lesion
    moved = mean_absolute_error(plus, minus, subject.core)
    assert moved is not None, "subjects without a core are left out"  # noqa: S101
    status = subject.truth.bbb_disrupted
    if status is None or Sequence.T1GD not in subject.truth.sequences:
        return _Found(moved, mean_absolute_error(plus, minus, normal), None, None, None, None)
    true = to_greys(subject.truth.slices(Sequence.T1GD))
    t1 = to_greys(subject.truth.slices(Sequence.T1)) if Sequence.T1 in subject.truth.sequences else None
    right, wrong = (plus, minus) if status else (minus, plus)
    return _Found(
        core_change=moved,
        normal_change=mean_absolute_error(plus, minus, normal),
        right_error=mean_absolute_error(right, true, subject.core),
        wrong_error=mean_absolute_error(wrong, true, subject.core),
        brain_error=mean_absolute_error(right, true, subject.brain),
        copy_error=None if t1 is None else mean_absolute_error(t1, true, subject.brain),
    )


def _mean(site: str, found: list[_Found]) -> Hypotheses:
    compared = [(one.right_error, one.wrong_error) for one in found if one.right_error is not None]
    wins = sum(right < wrong for right, wrong in compared if right is not None and wrong is not None)
    low, high = binomial_interval(wins, len(compared))
    return Hypotheses(
        site=site,
        patients=len(found),
        core_change=_average(one.core_change for one in found),
        normal_change=_average(one.normal_change for one in found),
        right_label_wins=wins,
        compared=len(compared),
        share=wins / len(compared) if compared else None,
        low=low,
        high=high,
        core_mae=_average(one.right_error for one in found),
        brain_mae=_average(one.brain_error for one in found),
        copy_brain_mae=_average(one.copy_error for one in found),
    )


def _average(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return fmean(known) if known else None
