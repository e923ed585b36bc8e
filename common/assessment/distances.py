"""How far drawn slices lie from real ones, sequence by sequence: Fréchet distances from the sites' feature sums."""

from __future__ import annotations

from collections.abc import Mapping
from functools import reduce
from operator import add

import numpy as np

from common.assessment.declared import Declared, Features
from common.assessment.dossier import Distance
from common.assessment.findings import FeatureSums, Findings
from common.assessment.matrix import held_by
from common.metrics.distribution import frechet_distance
from common.plan import Plan
from common.sequences import Sequence
from common.study import Study

DISTANCE = "distance"
REAL, DRAWN = "real", "drawn"
FEATURES = 16
"""Few, since the moments of n features need more slices than that, and a site holds out few patients."""

ENCODER = f"trunk of the released style encoder, {FEATURES} fixed directions"
ALL_SITES = "all"


def declare(study: Study, plan: Plan, site: str) -> dict[str, Declared]:
    """Return the features of real and of drawn slices, for each sequence that the site holds."""
    held = held_by(study, plan, site)
    return {f"{DISTANCE}/{kind}/{sequence}": Features(FEATURES) for kind in (REAL, DRAWN) for sequence in held}


def distances_of(findings: Mapping[str, Findings]) -> tuple[Distance, ...]:
    """Return the distance of every sequence over all sites that sent both sides of it, and at each of them."""
    found: list[Distance] = []
    for sequence in Sequence:
        real, drawn = (f"{DISTANCE}/{kind}/{sequence}" for kind in (REAL, DRAWN))
        pairs = {
            site: (each.moments[real], each.moments[drawn])
            for site, each in sorted(findings.items())
            if real in each.moments and drawn in each.moments
        }
        if len(pairs) > 1:
            found.append(_distance(ALL_SITES, sequence, tuple(pairs.values())))
        found += [_distance(site, sequence, (pair,)) for site, pair in pairs.items()]
    return tuple(found)


def _distance(site: str, sequence: Sequence, pairs: tuple[tuple[FeatureSums, FeatureSums], ...]) -> Distance:
    real, drawn = (reduce(add, (side.moments for side in sides)) for sides in zip(*pairs, strict=True))
    value, spread = frechet_distance(real, drawn), float(np.trace(real.covariance))
    return Distance(
        site=site,
        sequence=sequence,
        encoder=ENCODER,
        patients=sum(side.patients for side, _ in pairs),
        real_slices=real.count,
        drawn_slices=drawn.count,
        value=value,
        relative=value / spread if spread > 0 else None,
    )
