"""One of three hospitals has not approved the plan: the coordinator is told which, and what to do."""

from __future__ import annotations

import json
from io import StringIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from client.app import make_app
from client.consent.approvals import NotApprovedError
from common import console
from common.study import Study
from server.cli import app
from server.consortium.folder import Consortium
from server.events import RoundFinished
from server.facts import Health, NodeSeen, run_facts, sites
from server.facts.run_facts import RunFacts
from server.facts.site_in_run import SiteInRun
from server.operation.watch_view import picture
from server.operation.watching import lines
from simulations.chaos.arithmetic import BENCH, arithmetic_study, open_cached

THREE = ("hospital-a", "hospital-b", "hospital-c")
RESUME = "hospital-c has not approved the plan: approve the plan at the site, then `gliofed-server resume`"


@pytest.fixture
def unapproving(tools: SimpleNamespace, tmp_path: Path) -> SimpleNamespace:
    """A consortium of three, in which a person approves at all hospitals but the last."""

    def opener(path: Path, study: Study) -> Any:
        if path.parent.name == "hospital-c" and not found.approved:
            raise NotApprovedError("nobody here approved it")
        return open_cached(path, study)

    def play(study: Study, **more: Any) -> Any:
        return tools.play(found.consortium, "first", study, client=make_app(opener, BENCH), **more)

    found = SimpleNamespace(consortium=tools.begin(tmp_path / "north", THREE), approved=False, play=play)
    return found


def study_with(**federation: Any) -> Study:
    study = arithmetic_study(THREE)
    return study.model_copy(update={"federation": study.federation.model_copy(update=federation)})


def in_words(facts: RunFacts) -> str:
    screen = StringIO()
    Console(width=300, file=screen).print(picture(facts))
    return screen.getvalue()


def test_where_the_quorum_suffices_the_run_goes_without_the_site_and_names_it(unapproving: SimpleNamespace) -> None:
    seen: list[RunFacts] = []
    consortium: Consortium = unapproving.consortium
    health: list[tuple[Health, str]] = []

    def look(event: Any) -> None:
        if isinstance(event, RoundFinished) and event.round == 1:
            seen.append(run_facts(consortium.run("first")))
            (site,) = (each for each in sites(consortium, online) if each.name == "hospital-c")
            health.append((site.health, site.why))

    def online() -> dict[int, NodeSeen]:
        return {number: NodeSeen("online", None) for number in (1, 2, 3)}

    result = unapproving.play(study_with(quorum=2), on_event=look)
    facts = seen[0]
    assert result.status == "complete" and facts.planned == ("hospital-a", "hospital-b")
    (said,) = facts.unapproved
    assert said.startswith("hospital-c has not approved the plan, so this run goes without it; to have it take part")
    assert f"  {said}" in lines(facts, None) and lines(facts, facts) == [] and said in in_words(facts)
    assert (facts.sites[0].site, facts.sites[0].state) == ("hospital-c", "not-approved"), "it is not waited for"
    assert health[0] == (
        Health.FAILING,
        "has not approved the plan of first; a person there reads it, and runs `gliofed-client approve`",
    )
    (fault,) = json.loads((result.out / "run.json").read_text())["faults"]
    assert (fault["site"], fault["code"]) == ("hospital-c", "not-approved")


@pytest.mark.parametrize("needed", [{"quorum": 2, "required": ("hospital-c",)}, {"quorum": 3}])
def test_where_it_is_needed_the_reason_says_how_to_go_on_and_that_works(
    unapproving: SimpleNamespace, needed: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    study, consortium = study_with(**needed), unapproving.consortium
    result = unapproving.play(study)
    assert result.status == "incomplete"
    assert json.loads((result.out / "run.json").read_text())["reason"].endswith(f"; {RESUME}")
    assert console.run(app, "gliofed-server", ["watch", str(consortium.run("first"))]) == 6
    assert RESUME in capsys.readouterr().out
    unapproving.approved = True
    assert unapproving.play(study, resume=True).status == "complete"


@pytest.mark.parametrize(
    ("state", "way"),
    [("running", "and the next round asks it again"), ("interrupted", "then `gliofed-server resume`"), ("failed", "")],
)
def test_a_consent_that_was_taken_back_is_asked_for_again(state: str, way: str) -> None:
    member = SiteInRun("hospital-c", "not-approved", rounds=1)
    facts = RunFacts("first", state, planned=THREE, sites=(member,))
    said = (f"hospital-c has not approved the plan: approve the plan at the site, {way}",) if way else ()
    assert facts.unapproved == said
