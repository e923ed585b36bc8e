"""BBB decisions against the true status: AUC of the identifier beside that of the phantom's own latent.

The identifier is scored twice: by its mean probabilities, and by the thresholded shares that the paper decides by.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from statistics import fmean

from client.inference.identify import BbbResult
from common.metrics.classification import area_under_roc, roc_curve
from common.release import IdentifierFacts
from simulations.comparison.subject import ALL_SITES
from simulations.report.measures import AucFacts, Identification

DISRUPTED, INDETERMINATE = "disrupted", "indeterminate"
DRAWN = ("identifier", "latent")


@dataclass(frozen=True)
class Decision:
    """One patient: the truth, what the identifier said of it, and the phantom's latent, None where it is no phantom."""

    site: str
    disrupted: bool
    result: BbbResult
    latent: float | None


def compare_identification(
    decisions: Iterable[Decision], ceiling: float | None, facts: IdentifierFacts | None = None
) -> Identification:
    """Summarise decisions; an indeterminate patient without a score counts as a tie.

    Args:
        decisions: one a patient whose status is known.
        ceiling: the best AUC that any method without gadolinium can reach; None where it is not known.
        facts: how the release decides; None tells nothing of it.
    """
    every = sorted(decisions, key=lambda decision: decision.site)
    decided = [decision for decision in every if decision.result.status != INDETERMINATE]
    right = sum((decision.result.status == DISRUPTED) == decision.disrupted for decision in decided)
    scores: dict[str, list[tuple[Decision, float]]] = {
        "identifier": [(decision, decision.result.score) for decision in every],
        "shares": [(decision, share_score(decision.result)) for decision in every],
        "latent": [(decision, decision.latent) for decision in every if decision.latent is not None],
    }
    sites = (ALL_SITES, *sorted({decision.site for decision in every}))
    return Identification(
        ceiling=ceiling,
        indeterminate=dict(Counter(one.result.reason or "" for one in every if one.result.status == INDETERMINATE)),
        accuracy=right / len(decided) if decided else None,
        decided=len(decided),
        coverage=len(decided) / len(every) if every else None,
        brier=_brier(every),
        thresholds=_thresholds(facts),
        areas=tuple(_area(name, site, scored) for name, scored in scores.items() for site in sites if scored),
        roc={name: _curve(scores[name]) for name in DRAWN if len({one.disrupted for one, _ in scores[name]}) == 2},
    )


def share_score(result: BbbResult) -> float:
    """Return the relative consistency of enhancement, around 0; 0 without a tumour."""
    return 0.0 if result.relative_enhancing is None else result.relative_enhancing - 0.5


def _brier(decisions: list[Decision]) -> float | None:
    """Return the mean squared error of the calibrated probabilities, abstentions included; None without any."""
    given = [(one.result.probability, one.disrupted) for one in decisions if one.result.probability is not None]
    return fmean((probability - disrupted) ** 2 for probability, disrupted in given) if given else None


def _thresholds(facts: IdentifierFacts | None) -> str:
    if facts is None:
        return ""
    return f"slice {facts.slice_threshold:g}, volume {facts.volume_threshold:g}: {facts.note}"


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
