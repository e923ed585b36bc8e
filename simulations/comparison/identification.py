"""BBB decisions against the true status: AUC of the identifier beside that of the phantom's own latent."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from client.inference.identify import BbbResult
from common.metrics.classification import area_under_roc, roc_curve
from simulations.comparison.subject import ALL_SITES
from simulations.report.summary import AucFacts, Identification

DISRUPTED, INDETERMINATE = "disrupted", "indeterminate"


@dataclass(frozen=True)
class Decision:
    """One patient: the truth, what the identifier said of it, and the phantom's latent, None where it is no phantom."""

    site: str
    disrupted: bool
    result: BbbResult
    latent: float | None


def compare_identification(decisions: Iterable[Decision], ceiling: float | None) -> Identification:
    """Summarise decisions; an indeterminate patient without a score counts as a tie.

    Args:
        decisions: one a patient whose status is known.
        ceiling: the best AUC that any method without gadolinium can reach; None where it is not known.
    """
    every = sorted(decisions, key=lambda decision: decision.site)
    decided = [decision for decision in every if decision.result.status != INDETERMINATE]
    right = sum((decision.result.status == DISRUPTED) == decision.disrupted for decision in decided)
    scores: dict[str, list[tuple[Decision, float]]] = {
        "identifier": [(decision, decision.result.score) for decision in every],
        "latent": [(decision, decision.latent) for decision in every if decision.latent is not None],
    }
    sites = (ALL_SITES, *sorted({decision.site for decision in every}))
    return Identification(
        ceiling=ceiling,
        indeterminate=dict(Counter(one.result.reason or "" for one in every if one.result.status == INDETERMINATE)),
        accuracy=right / len(decided) if decided else None,
        decided=len(decided),
        areas=tuple(_area(name, site, scored) for name, scored in scores.items() for site in sites if scored),
        roc={name: _curve(scored) for name, scored in scores.items() if len({one.disrupted for one, _ in scored}) == 2},
    )


def _area(name: str, site: str, scored: list[tuple[Decision, float]]) -> AucFacts:
    here = [(score, one.disrupted) for one, score in scored if site in (ALL_SITES, one.site)]
    found = area_under_roc([score for score, _ in here], [status for _, status in here])
    return AucFacts(
        of=name,
        site=site,
        value=found.value,
        low=found.low,
        high=found.high,
        positives=found.positives,
        negatives=found.negatives,
        note=found.note,
    )


def _curve(scored: list[tuple[Decision, float]]) -> tuple[tuple[float, float], ...]:
    curve = roc_curve([score for _, score in scored], [one.disrupted for one, _ in scored])
    return tuple(zip(curve.false_positive_rate, curve.true_positive_rate, strict=True))
