"""A study plan in words and sizes, for the person who is to approve it: what would leave, to whom, at what cost."""

from __future__ import annotations

import math
from typing import Any

from client.config import SiteConfig
from client.privacy.ledger_report import report_ledger
from common.approval.study_plan import Form, StudyPlan
from common.errors import GliofedError
from common.identity.signing import VerifyKey
from common.parameters import permitted_groups
from common.records import DTYPES
from common.roster_file import Roster, load_roster
from common.sequences import Domain, with_twins
from common.settings.stages import Stage

MB = 1e6


def describe(plan: StudyPlan, config: SiteConfig) -> dict[str, Any]:
    """Return what a plan means for this site, as plain values; sizes in megabytes (10^6 bytes) a round."""
    study = plan.study
    return {
        "digest": plan.digest,
        "study": study.name,
        "study_digest": plan.study_digest,
        "created": plan.created.isoformat(),
        "code_version": plan.code_version,
        "bundle_sha256": plan.bundle_sha256,
        "run_config": plan.run_config,
        "sites": sites_of(plan, config),
        "tensors": [_stage(plan, stage, config.name) for stage in study.stages.present],
        "numbers": [name for name in plan.metrics if config.policy.lets_out(name)],
        "numbers_that_stay": [name for name in plan.metrics if not config.policy.lets_out(name)],
        "findings": len([name for name in plan.findings if config.policy.lets_out(name)]),
        "privacy": _privacy(plan, config),
        "secure_aggregation": _secure(plan, config),
        "sequences": {
            sequence.value: "used" if config.policy.allows(sequence) else "kept back by policy"
            for sequence in study.sequences
        },
        "minimum_patients": max(config.policy.minimum_patients, study.data.minimum_patients),
        "minimum_count": max(config.policy.minimum_patients, study.reporting.minimum_count),
    }


def sites_of(plan: StudyPlan, config: SiteConfig) -> list[dict[str, str]]:
    """Return the study's sites with the fingerprints of their keys, each beside the site's own copy of the roster."""
    own = _own_roster(config)
    return [
        {
            "site": site + (" (this one)" if site == config.name else ""),
            "fingerprint": fingerprint(plan.roster.sites[site].signing_key),
            "own_roster": _beside(own, plan, site),
        }
        for site in sorted(plan.study.sites)
    ]


def fingerprint(pem: str | None) -> str:
    """Return the fingerprint of a public key, as two people read it to each other."""
    return "no key" if pem is None else VerifyKey.from_pem(pem).fingerprint


def size_bytes(form: Form) -> int:
    """Return the bytes of a tensor as it is before any coding."""
    dtype, shape = form
    return math.prod(shape) * DTYPES[dtype].itemsize


def _own_roster(config: SiteConfig) -> Roster | None:
    try:
        return None if config.roster is None else load_roster(config.roster)
    except GliofedError:
        return None


def _beside(own: Roster | None, plan: StudyPlan, site: str) -> str:
    """Say whether a site's key is the one in this site's own copy of the roster."""
    if own is None:
        return "no copy here"
    if site not in own.sites:
        return "not in it"
    same = fingerprint(own.sites[site].signing_key) == fingerprint(plan.roster.sites[site].signing_key)
    return "same key" if same else "ANOTHER KEY"


def _stage(plan: StudyPlan, stage: Stage, site: str) -> dict[str, Any]:
    """Return what a stage sends of this site, were every sequence of the study here."""
    settings = plan.study.stages.of(stage)
    domains = with_twins(tuple(Domain(site, sequence) for sequence in plan.study.sequences))
    own = permitted_groups(site, domains)
    planned = plan.outgoing.get(stage, {})
    forms = [form for group, tensors in planned.items() if group in own for form in tensors.values()]
    return {
        "stage": stage.value,
        "rounds": 0 if settings is None else settings.rounds,
        "tensors": len(forms),
        "mb_a_round": round(sum(map(size_bytes, forms)) / MB, 3),
        "private": plan.privacy.covers(stage),
    }


def _privacy(plan: StudyPlan, config: SiteConfig) -> dict[str, Any]:
    """Return what the study may cost a patient, beside what the site allows over all studies and has spent."""
    settings = plan.privacy
    if not settings.stages:
        return {"stages": []}
    spent = report_ledger(config)
    return {
        "stages": [stage.value for stage in settings.stages],
        "epsilon": settings.epsilon,
        "delta": settings.delta,
        "noise_multiplier": settings.noise_multiplier,
        "site_spent": spent["epsilon"],
        "site_budget": spent["budget"],
        "site_left": spent["left"],
    }


def _secure(plan: StudyPlan, config: SiteConfig) -> str:
    if not plan.secure_aggregation.enabled:
        return "off: the coordinator sees this site's update by itself"
    needed = plan.secure_aggregation.needed(len(plan.study.sites))
    heads = "leave in clear" if config.policy.single_owner_heads_in_clear else "stay, unless trained privately"
    return f"on: the coordinator sees sums that {needed} sites open; this site's own heads {heads}"
