"""Signed plans of a small study, and sites that approve them."""

from __future__ import annotations

from datetime import date
from types import SimpleNamespace
from typing import Any

import pytest

from common.approval.study_plan import StudyPlan, write_plan
from common.identity.signing import SigningKey
from common.roster_file import Roster, RosterSite
from server.approval.make_plan import make_plan
from tests.toys import build_linear

STUDY = """
name = "tiny"
sites = ["a", "b"]
reference_site = "a"
sequences = ["T1", "T2"]
[data]
holdout_fraction = 0.0
[stages.generator]
rounds = 2
local_steps = 2
[reporting]
minimum_count = 1
"""
ROSTER = Roster(sites={"a": RosterSite(node=1), "b": RosterSite(node=2)})
DAY = date(2026, 11, 22)
RUN: dict[str, str | bool] = {"study": "/runs/study.toml", "out": "/runs/tiny", "roster": "/roster.toml"}
KEY = SigningKey.generate()


def plan_of(text: str = STUDY, roster: Roster = ROSTER, **more: Any) -> StudyPlan:
    plan = make_plan(text, roster, RUN, "0" * 64, DAY, build_linear)
    return StudyPlan.model_validate(plan.model_dump() | more)


@pytest.fixture(scope="session")
def small() -> SimpleNamespace:
    """Study, roster, day, run and key of the plans, and the way to make another."""
    return SimpleNamespace(study=STUDY, roster=ROSTER, day=DAY, run=RUN, key=KEY, plan_of=plan_of, build=build_linear)


@pytest.fixture(scope="session")
def plan() -> StudyPlan:
    return plan_of()


@pytest.fixture(scope="session")
def signed(plan: StudyPlan) -> bytes:
    return write_plan(plan, KEY)
