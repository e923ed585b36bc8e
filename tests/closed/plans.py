"""Signed plans of a study of one site, for a run of any name and a bundle of any digest."""

from __future__ import annotations

from datetime import date

from common.approval.study_plan import StudyPlan, write_plan
from common.files import write_whole
from common.identity.signing import SigningKey
from common.roster_file import Roster
from common.study import code_version, parse_study
from server.consortium.folder import Consortium
from server.hosting.submit import planned_run_config

STUDY = """
name = "closed"
sites = ["hospital-a"]
reference_site = "hospital-a"
[stages.generator]
rounds = 1
local_steps = 1
"""


def plan_of(run: str, bundle_sha256: str, roster: Roster) -> StudyPlan:
    """Return the plan."""
    study = parse_study(STUDY)
    return StudyPlan(
        study_text=STUDY,
        study_digest=study.digest,
        code_version=code_version(),
        bundle_sha256=bundle_sha256,
        roster=roster,
        run_config=planned_run_config(run),
        outgoing={},
        metrics=(),
        privacy=study.privacy,
        secure_aggregation=study.secure_aggregation,
        created=date(2026, 1, 1),
    )


def put_plan(consortium: Consortium, plan: StudyPlan, key: SigningKey) -> StudyPlan:
    """Write a plan, signed, to where the coordinator keeps them."""
    write_whole(consortium.plans / f"{plan.digest}.json", write_plan(plan, key))
    return plan
