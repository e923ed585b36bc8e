"""Membership inference against every released model: what the sites say, and what it adds up to.

A site says of each attack the placements of its members and strangers (`common.attacks.placements`) as sums, and how
many members are caught at which share of false alarms. Nothing of one patient leaves.
"""

from __future__ import annotations

from collections.abc import Mapping

from common.assessment.attack_figures import MembershipFigure, MembershipFigures
from common.assessment.declared import Bins, Declared, Values
from common.assessment.findings import Findings, mean_of
from common.attacks.bounds import Stratum, area_at_most, patients_for_area, pooled_area
from common.plan import Plan
from common.settings.stages import Stage
from common.study import Study

MEMBERSHIP = "membership"

ATTACKS: dict[Stage, tuple[str, ...]] = {
    Stage.GENERATOR: ("drawn", "identity", "judged"),
    Stage.SYNTHESISER: ("drawn", "loss"),
    Stage.SEGMENTER: ("loss",),
    Stage.IDENTIFIER: ("loss",),
    Stage.MAPS: ("drawn",),
}
"""What each attack takes for a loss: the error of a drawing, of redrawing an image as what it is, the discriminator's
doubt that it is real (Hayes 2019), or the loss that was trained."""

PARTS = 10
"""Equal parts of the false alarms; the first is what is reported: members caught at one false alarm in ten."""


def attack_name(stage: Stage, loss: str) -> str:
    """Return under which name an attack is declared; `/members`, `/strangers` and `/curve` follow it."""
    return f"{MEMBERSHIP}/{stage.value}/{loss}"


def attacked(study: Study) -> tuple[Stage, ...]:
    """Return the released stages that are attacked: one that is trained privately only where a limit asks for it.

    What an attack tells are sums over the patients that were trained on, without noise.
    """
    if not study.attacks.enabled:
        return ()
    limited = study.attacks.membership_limit is not None
    return tuple(stage for stage in study.stages.released if limited or not study.privacy.covers(stage))


def declare(study: Study, plan: Plan, site: str) -> dict[str, Declared]:
    """Return what a site may say of the study's released models."""
    names = [attack_name(stage, loss) for stage in attacked(study) for loss in ATTACKS[stage]]
    share, bins = Values(ranges=((0.0, 1.0),)), Bins(PARTS)
    said: dict[str, Declared] = {}
    for name in names:
        said |= {f"{name}/members": share, f"{name}/strangers": share, f"{name}/curve": bins}
    return said


def reduce(study: Study, findings: Mapping[str, Findings]) -> MembershipFigures | None:
    """Pool the sites' placements, site by site; None where nobody could say anything."""
    confidence = study.attacks.confidence
    figures: dict[str, MembershipFigure] = {}
    for stage in study.stages.released:
        for loss in ATTACKS[stage]:
            name = attack_name(stage, loss)
            told = {site: found for site, found in sorted(findings.items()) if _tells(found, name)}
            if told:
                figures[f"{stage.value}/{loss}"] = _figure(told, name, confidence)
    return MembershipFigures(confidence=confidence, attacks=figures) if figures else None


def _tells(found: Findings, name: str) -> bool:
    return {f"{name}/members", f"{name}/strangers"} <= set(found.sums) and f"{name}/curve" in found.histograms


def _figure(told: Mapping[str, Findings], name: str, confidence: float) -> MembershipFigure:
    strata = {site: _stratum(found, name) for site, found in told.items()}
    members = sum(each.members for each in strata.values())
    caught = sum(_caught(found, f"{name}/curve") for found in told.values())
    return MembershipFigure(
        members=members,
        strangers=sum(each.strangers for each in strata.values()),
        auc=pooled_area(strata.values()),
        auc_at_most=area_at_most(strata.values(), confidence),
        caught=caught / members,
        sites={site: each.area for site, each in strata.items()},
    )


def _stratum(found: Findings, name: str) -> Stratum:
    members, strangers = found.sums[f"{name}/members"], found.sums[f"{name}/strangers"]
    return Stratum(members.patients, strangers.patients, min(max(mean_of(members, 0), 0.0), 1.0))


def _caught(found: Findings, name: str) -> int:
    """Return the members in the first group, which holds the first bin; a site's members are in no other's."""
    members = found.sums[name.removesuffix("curve") + "members"].patients
    return min(found.histograms[name].groups[0].patients, members)


def refusal(study: Study, figures: MembershipFigures | None) -> str | None:
    """Say why a release exceeds the study's limit, or cannot be shown to keep it; None where it may be released."""
    limit = study.attacks.membership_limit
    if limit is None:
        return None
    attacks = {} if figures is None else figures.attacks
    silent = [stage.value for stage in study.stages.released if not _measured(stage, attacks)]
    if silent:
        return (
            f"no membership attack on {', '.join(silent)} could be measured, and attacks.membership_limit is "
            f"{limit:g}; a site needs reporting.minimum_count patients trained on and as many held out"
        )
    worst = max(attacks, key=lambda name: attacks[name].auc_at_most)
    found = attacks[worst]
    if found.auc_at_most <= limit:
        return None
    needed = patients_for_area(limit, study.attacks.confidence)
    return (
        f"the membership attack {worst} reaches an area of {found.auc:.3f}, at most {found.auc_at_most:.3f} with "
        f"{found.members} patients trained on and {found.strangers} held out; attacks.membership_limit is {limit:g}, "
        f"which {needed} of each would be needed to show of a model that gives nothing away"
    )


def _measured(stage: Stage, attacks: Mapping[str, MembershipFigure]) -> bool:
    return any(f"{stage.value}/{loss}" in attacks for loss in ATTACKS[stage])
