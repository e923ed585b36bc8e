"""A run begins as its signed plan says, or not at all."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from common import console
from common.errors import FederationError, GliofedError, StudyError
from common.identity.signing import SigningKey, VerifyKey
from common.roster_file import load_roster, write_roster
from server.approval.written_plans import write_study_plan
from server.cli import app
from server.consortium.folder import Consortium
from server.hosting.bundle import read_bundle, write_bundle
from server.hosting.submit import planned_run_config
from server.journal import Journal
from server.operation.starting import resume_hosted, start_run
from server.operation.steering import resume
from server.study_text import to_toml

handed: list[Mapping[str, Any]] = []


def hand_over(consortium: Consortium, settings: Mapping[str, Any]) -> int:
    handed.append(dict(settings))
    return 7


def write_plan(consortium: Consortium, study: Path, run: str = "arithmetic") -> str:
    card, _ = read_bundle(consortium.bundle, VerifyKey.load(consortium.signing_pub))
    key = SigningKey.load(consortium.signing_key)
    roster, settings = load_roster(consortium.roster), planned_run_config(run)
    plan, _ = write_study_plan(consortium, run, study.read_text(), roster, settings, card.sha256, key)
    return plan.digest


@pytest.fixture
def planned(tools: SimpleNamespace, tmp_path: Path) -> SimpleNamespace:
    """A consortium with a signed bundle, a study, and the study's signed plan."""
    handed.clear()
    consortium = tools.begin(tmp_path / "north")
    write_bundle(consortium.bundle, SigningKey.load(consortium.signing_key))
    study = tmp_path / "study.toml"
    study.write_text(to_toml(tools.study(tools.sites)))
    return SimpleNamespace(consortium=consortium, study=study, digest=write_plan(consortium, study))


def test_a_planned_study_is_handed_over_exactly_as_its_plan_says(planned: SimpleNamespace) -> None:
    started = start_run(planned.consortium, planned.study, hand_over=hand_over)
    assert (started.folder, started.plan) == (planned.consortium.run("arithmetic"), planned.digest)
    assert handed == [planned_run_config("arithmetic")]
    assert not [value for value in handed[0].values() if str(planned.consortium.folder) in str(value)], (
        "no path of ours"
    )


def test_a_study_without_a_plan_is_refused_with_what_to_do(planned: SimpleNamespace) -> None:
    with pytest.raises(StudyError, match="gliofed-server plan"):
        start_run(planned.consortium, planned.study, run="other", hand_over=hand_over)
    assert handed == []


def test_everything_that_changed_since_the_plan_is_named_at_once(
    planned: SimpleNamespace, tools: SimpleNamespace, tmp_path: Path
) -> None:
    planned.study.write_text(to_toml(tools.study(tools.sites, rounds=1)))
    other = tools.begin(tmp_path / "south")
    write_roster(planned.consortium.roster, load_roster(other.roster))
    with pytest.raises(StudyError) as refused:
        start_run(planned.consortium, planned.study, hand_over=hand_over)
    said = str(refused.value)
    assert "the study or the code has changed" in said
    assert "the roster has changed for hospital-a, hospital-b" in said and "gliofed-server plan" in said
    assert handed == []


def test_a_plan_that_somebody_changed_is_refused(planned: SimpleNamespace) -> None:
    path = planned.consortium.run("arithmetic") / "study-plan.json"
    tree = json.loads(path.read_text())
    tree["plan"]["run_config"]["start_from"] = "elsewhere"
    path.write_text(json.dumps(tree))
    with pytest.raises(GliofedError, match="not signed by the key"):
        start_run(planned.consortium, planned.study, hand_over=hand_over)
    assert handed == []


def test_a_run_that_has_begun_is_resumed_in_its_consortium_and_not_begun_again(
    planned: SimpleNamespace, tools: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cut(event: Any) -> None:
        raise GliofedError("power cut")

    with pytest.raises(GliofedError, match="power cut"):
        tools.play(planned.consortium, "arithmetic", on_event=cut, resume=True)
    with pytest.raises(StudyError, match="has begun"):
        start_run(planned.consortium, planned.study, hand_over=hand_over)
    out = planned.consortium.run("arithmetic")
    assert resume_hosted(planned.consortium, out, hand_over).endswith("goes on as Flower's run 7")
    with Journal.look_into(out) as journal:
        assert handed == [{**journal.settings, "resume": True}]
    monkeypatch.setattr("server.operation.starting.submit", hand_over)
    monkeypatch.setattr("server.operation.starting.resume_hosted", lambda home, run: f"{home.settings.name} {run.name}")
    assert resume(out, None, Path()) == "north arithmetic"


def test_the_verb_prints_the_folder_and_hands_nothing_over_where_no_superlink_is(
    planned: SimpleNamespace, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["run", str(planned.study), str(planned.consortium.folder), "--json"]
    assert console.run(app, "gliofed-server", words) == FederationError.exit_code
    assert "flwr run" in capsys.readouterr().err
    monkeypatch.setattr("server.operation.starting.start_run.__defaults__", (None, hand_over))
    assert console.run(app, "gliofed-server", words) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["run"], said["plan"], said["flower_run"]) == ("arithmetic", planned.digest, 7)
