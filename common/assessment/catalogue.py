"""The assessors there are, each with what it lets a site say."""

from __future__ import annotations

from collections.abc import Mapping

from common.assessment import distances, matrix, membership, memorisation, roc
from common.assessment.declared import Declaration, Declared
from common.plan import Plan
from common.study import Study


def _declare_drawings(study: Study, plan: Plan, site: str) -> dict[str, Declared]:
    """Errors and features come of the same drawings, which are made once."""
    return {**matrix.declare_translation(study, plan, site), **distances.declare(study, plan, site)}


DECLARATIONS: Mapping[str, Declaration] = {
    matrix.TRANSLATION: _declare_drawings,
    matrix.SEGMENTATION: matrix.declare_segmentation,
    roc.IDENTIFICATION: roc.declare,
    membership.MEMBERSHIP: membership.declare,
    memorisation.MEMORISATION: memorisation.declare,
}


def declared_by(study: Study, plan: Plan, site: str) -> dict[str, dict[str, Declared]]:
    """Return, for each assessor that the study asks for, the names that `site` may send of it."""
    found = {assessor: dict(declare(study, plan, site)) for assessor, declare in DECLARATIONS.items()}
    return {assessor: names for assessor, names in found.items() if names}


def all_declared(study: Study, plan: Plan, site: str) -> dict[str, Declared]:
    """Return every name that `site` may send."""
    return {name: kind for names in declared_by(study, plan, site).values() for name, kind in names.items()}
