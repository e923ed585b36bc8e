"""How well the released identifier tells the BBB status, from each site's class-wise histograms of its score."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from common.assessment.declared import Bins, Declared
from common.assessment.dossier import Roc, RocArea, RocPoint
from common.assessment.findings import Findings
from common.assessment.histogram import Group, auc_bounds
from common.plan import Plan
from common.study import Study

IDENTIFICATION = "identification"
DISRUPTED, INTACT = f"{IDENTIFICATION}/disrupted", f"{IDENTIFICATION}/intact"
BINS = 40
LOWEST, HIGHEST = -1.0, 1.0
"""The identifier's score is a difference of two probabilities."""

ALL_SITES = "all"
Groups = tuple[Group, ...]


def declare(study: Study, plan: Plan, site: str) -> dict[str, Declared]:
    """Return the histograms of either status, where the study trains an identifier."""
    return {} if study.stages.identifier is None else {DISRUPTED: Bins(BINS), INTACT: Bins(BINS)}


def roc_of(findings: Mapping[str, Findings]) -> Roc | None:
    """Return areas and curve over the sites that sent both statuses; None where there is none.

    A site of one status alone is left out: its patients would be compared with those of other sites only, and what
    tells the sites apart would pass for the barrier.
    """
    both = {
        site: (each.histograms[DISRUPTED].groups, each.histograms[INTACT].groups)
        for site, each in sorted(findings.items())
        if DISRUPTED in each.histograms and INTACT in each.histograms
    }
    if not both:
        return None
    every = tuple(tuple(group for side in sides for group in side) for sides in zip(*both.values(), strict=True))
    named = {**({ALL_SITES: every} if len(both) > 1 else {}), **both}
    areas = tuple(area for site, (one, other) in named.items() for area in _areas(site, one, other))
    return Roc(bins=BINS, areas=areas, curve=_curve(*every))


def _areas(site: str, disrupted: Groups, intact: Groups) -> Iterable[RocArea]:
    bounds = auc_bounds(disrupted, intact)
    if bounds is not None:
        yield RocArea(
            site=site,
            low=bounds.low,
            high=bounds.high,
            interval_low=bounds.interval_low,
            interval_high=bounds.interval_high,
            disrupted=bounds.positives,
            intact=bounds.negatives,
        )


def _curve(disrupted: Groups, intact: Groups) -> tuple[RocPoint, ...]:
    """Return the rates above every edge of a bin, from the highest down to the lowest."""
    points = []
    for edge in range(BINS, -1, -1):
        (false_low, false_high), (true_low, true_high) = _rate(intact, edge), _rate(disrupted, edge)
        points.append(
            RocPoint(
                threshold=LOWEST + edge * (HIGHEST - LOWEST) / BINS,
                false_positive_low=false_low,
                false_positive_high=false_high,
                true_positive_low=true_low,
                true_positive_high=true_high,
            )
        )
    return tuple(points)


def _rate(groups: Groups, edge: int) -> tuple[float, float]:
    """Return the share of patients who lie at or above `edge` for sure, and of those who may."""
    every = sum(group.patients for group in groups)
    sure = sum(group.patients for group in groups if group.low >= edge)
    maybe = sum(group.patients for group in groups if group.high > edge)
    return sure / every, maybe / every
