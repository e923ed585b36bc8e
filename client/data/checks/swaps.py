"""Suspicions that only two sequences of a case together can raise: left for right, and T1 for T1Gd."""

from __future__ import annotations

from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from client.data.catalog import CatalogCase
from client.data.checks.finding import Finding, Severity
from client.data.checks.sketch import Sketch, Values, centres, sample, shared_information
from common.sequences import Sequence

MIRROR_MARGIN = 1.15
"""How much more a mirrored pair must share than the pair as it lies; 0.61 … 1.02 in five real patients."""

MIRROR_FLOOR = 0.15
"""What a mirrored pair must share at least, so that noise beside noise suspects no one."""

ACROSS = np.array([[-1.0], [1.0], [1.0]])
"""Takes a point in millimetres to the other side of the scanner, as an affine with the wrong sign would."""

ALIGNED = 0.25
"""Information that T1 and T1Gd must share before voxels are subtracted; an unregistered real pair shares 0.20."""

DARKENING = -0.12
"""Enhancement below which the two names look exchanged; 0.19 … 0.42 in three real patients whose pair is aligned."""

TONES = 64


def suspect_mirror(case: CatalogCase, sketches: dict[Sequence, Sketch]) -> list[Finding]:
    """Return a warning where sequences of a case fit better when one of them is mirrored.

    Brains are not symmetric and rarely centred, so a mirrored pair shares less information. With three sequences or
    more, the one that disagrees with all others is named; with two, either may be the mirrored one.
    """
    votes: dict[Sequence, int] = dict.fromkeys(sketches, 0)
    for first, second in combinations(sketches, 2):
        points = centres(sketches[first])
        as_is = sample(sketches[first], points)
        straight = shared_information(as_is, sample(sketches[second], points))
        by_array = shared_information(as_is, sample(sketches[second], points, mirrored=True))
        by_affine = shared_information(as_is, sample(sketches[second], points * ACROSS))
        if max(by_array, by_affine) > max(MIRROR_FLOOR, MIRROR_MARGIN * straight):
            votes[first] += 1
            votes[second] += 1
    if not any(votes.values()):
        return []
    named = [sequence for sequence, count in votes.items() if count == max(votes.values())]
    text = f"left-right swap suspected: {' or '.join(named)} fits the other sequences better when mirrored"
    remedy = "compare it with the report or the DICOM original; convert it again if it is mirrored"
    file = case.images[named[0]] if len(named) == 1 else None
    return [Finding(Severity.WARNING, case.case, file, text, remedy, "left-right")]


def suspect_exchange(case: CatalogCase, sketches: dict[Sequence, Sketch]) -> list[Finding]:
    """Return a warning where T1Gd looks darker in vessels and tumour than T1, as if the two names were exchanged."""
    if not {Sequence.T1, Sequence.T1GD} <= set(sketches):
        return []
    points = centres(sketches[Sequence.T1])
    before, after = sample(sketches[Sequence.T1], points), sample(sketches[Sequence.T1GD], points)
    if shared_information(before, after) < ALIGNED or enhancement(before, after) > DARKENING:
        return []
    text = "T1/T1Gd swap suspected: gadolinium seems to darken vessels and tumour"
    remedy = "look at both: vessels and nasal mucosa are bright in T1Gd; exchange the names if they are not"
    return [Finding(Severity.WARNING, case.case, case.images[Sequence.T1GD], text, remedy, "t1-t1gd")]


def enhancement(before: Values, after: Values) -> float:
    """Return how much more often places grew brighter than their peers from `before` to `after`, -1 to 1.

    Most tissue hardly takes up gadolinium, vessels and leaking tumour do. So among voxels that were equally grey
    before, the greys after have a long bright tail, while among voxels that are equally grey after, those that came
    from below have a long dark one. Comparing equals makes contrast, gain and the fat of the scalp cancel out.
    """
    head = _tissue(before) & _tissue(after)
    if np.count_nonzero(head) < 10 * TONES:
        return 0.0
    return (_skew_among_equals(before[head], after[head]) - _skew_among_equals(after[head], before[head])) / 2


def _skew_among_equals(grey: Values, other: Values) -> float:
    """Return the asymmetry of the tails of `other` around its median among voxels of one of 64 levels of `grey`."""
    edges = np.quantile(grey, np.linspace(0, 1, TONES + 1)[1:-1])
    level = np.digitize(grey, edges)
    rest = np.empty(other.shape, dtype=np.float64)
    for tone in np.unique(level):
        chosen = level == tone
        rest[chosen] = other[chosen] - np.median(other[chosen])
    tails = np.quantile(rest, [(0.005, 0.995), (0.01, 0.99), (0.05, 0.95)])
    spread = np.maximum(tails[:, 1] - tails[:, 0], 1e-6)
    return float(((tails[:, 1] + tails[:, 0]) / spread).mean())


def _tissue(values: Values) -> NDArray[np.bool_]:
    """Return where there is neither background, which is zero, nor the darkest fifth of the rest, which is air."""
    inside: NDArray[np.bool_] = values != 0
    if inside.any():
        inside &= values > np.quantile(values[inside], 0.2)
    return inside
