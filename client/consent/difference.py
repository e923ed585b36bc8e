"""What is otherwise in one plan than in another: the lines that a person reads before approving a change."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from client.consent.description import fingerprint
from common.approval.study_plan import StudyPlan

ABSENT = "-"


@dataclass(frozen=True)
class Change:
    """One thing that is otherwise: what it is, as it was approved, as it would be."""

    what: str
    before: str
    now: str


def changes(before: StudyPlan, now: StudyPlan) -> tuple[Change, ...]:
    """Return every difference between two plans but their dates, sorted by what it is about."""
    old, new = facts_of(before), facts_of(now)
    return tuple(
        Change(what, old.get(what, ABSENT), new.get(what, ABSENT))
        for what in sorted(set(old) | set(new))
        if old.get(what) != new.get(what)
    )


def facts_of(plan: StudyPlan) -> dict[str, str]:
    """Return a plan as flat facts: name of the fact → its value as text."""
    facts = {
        "code version": plan.code_version,
        "bundle": plan.bundle_sha256 or ABSENT,
        **{f"run configuration {key}": str(value) for key, value in plan.run_config.items()},
        **{f"site {site}": _seat(plan, site) for site in plan.roster.sites},
        **{f"number {name}": "may leave" for name in plan.metrics},
        **{f"finding {name}": "may leave" for name in plan.findings},
        **{
            f"tensor {stage} {name}": f"{dtype} {list(shape)} as {group}"
            for stage, groups in plan.outgoing.items()
            for group, tensors in groups.items()
            for name, (dtype, shape) in tensors.items()
        },
    }
    settings = json.loads(plan.study.canonical_json())
    return facts | {f"study {key}": value for key, value in _flat(settings)}


def _seat(plan: StudyPlan, site: str) -> str:
    entry = plan.roster.sites[site]
    return f"{fingerprint(entry.signing_key)} at node {entry.node}"


def _flat(tree: Mapping[str, Any], above: str = "") -> Iterable[tuple[str, str]]:
    """Yield every setting of nested tables as `table.key` and its value."""
    for key, value in tree.items():
        if isinstance(value, dict) and value:
            yield from _flat(value, f"{above}{key}.")
        else:
            yield f"{above}{key}", json.dumps(value)
