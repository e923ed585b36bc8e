"""Whether the blood-brain barrier of a case is disrupted, and where that cannot be said, why."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from client.inference.harmonize import Harmonized
from client.inference.identify import BbbResult, identify_case, with_probability
from client.inference.one_case import OneCase
from client.inference.segment import whole_tumour
from client.inference.synthesise import HypothesesVolume
from common.release import IdentifierFacts
from common.sequences import Sequence

CONDITION = (Sequence.T1, Sequence.FLAIR)
"""What the identifier sees beside a drawn T1Gd."""
UNRECOGNISED = 0.5
"""Likeness below which an image is foreign to the release: it is no such sequence of a brain, or is damaged."""
SMALLEST_BRAIN_ML, LARGEST_BRAIN_ML = 600.0, 2200.0
GADOLINIUM_ALONE = "there are images with gadolinium alone, which show the answer"


def judge_barrier(
    case: OneCase,
    facts: IdentifierFacts | None,
    hypotheses: HypothesesVolume | None,
    harmonized: Mapping[Sequence, Harmonized],
) -> BbbResult:
    """Return the BBB status of a case, or the reason why there is none.

    The tumour inside which the barrier is judged is found without any real T1Gd, as in a patient who had none, so that
    the status does not depend on whether gadolinium was given.
    """
    if case.models.identifier is None or facts is None:
        return indeterminate("the release holds no identifier")
    if not case.without_gadolinium():
        return indeterminate(GADOLINIUM_ALONE)
    tumour = case.tumour(case.without_gadolinium())
    condition = case.stack(case.without_gadolinium(), CONDITION)
    if condition is None or hypotheses is None or tumour is None:
        return indeterminate("T1, T1Gd, T2 and FLAIR cannot all be drawn from what there is")
    foreign = _foreign(case, case.sources(CONDITION), harmonized)
    if foreign is not None:
        return indeterminate(f"foreign input: {foreign}")
    images = np.concatenate([condition, hypotheses.enhancing[None], hypotheses.non_enhancing[None]])
    result = identify_case(
        case.models.identifier,
        images,
        whole_tumour(tumour, case.voxel_ml),
        facts.slice_threshold,
        facts.volume_threshold,
        contrastive=facts.contrastive,
    )
    return with_probability(result, facts.curve, facts.abstain_margin)


def _foreign(
    case: OneCase, sources: Mapping[Sequence, Sequence | None], harmonized: Mapping[Sequence, Harmonized]
) -> str | None:
    """Return why these images are none that the release can judge, None where they are."""
    volume_ml = case.voxel_ml * float((case.brain > 0).sum())
    if not SMALLEST_BRAIN_ML <= volume_ml <= LARGEST_BRAIN_ML:
        return f"the brain measures {volume_ml:.0f} ml, expected {SMALLEST_BRAIN_ML:.0f} to {LARGEST_BRAIN_ML:.0f}"
    for sequence in dict.fromkeys(source for source in sources.values() if source is not None):
        if sequence in harmonized and harmonized[sequence].likeness < UNRECOGNISED:
            return (
                f"not recognised as {sequence} of a brain (r = {harmonized[sequence].likeness:.2f} with its redrawing)"
            )
    return None


def indeterminate(reason: str) -> BbbResult:
    """Return the result of a case that cannot be judged."""
    return BbbResult("indeterminate", reason, None, None, None, None, None, None, 0)
