"""The verbs of consent, as a person at a site types them."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from client.cli import PROGRAM, app
from client.consent.offers import keep_offer
from common import console
from common.approval.study_plan import StudyPlan, write_plan


@pytest.fixture
def site(tmp_path: Path, small: SimpleNamespace) -> Path:
    """A site that has joined, its site.toml."""
    (tmp_path / "kit").mkdir()
    (tmp_path / "kit" / "signing.pub").write_text(small.key.public.pem)
    path = tmp_path / "site.toml"
    path.write_text('name = "a"\nfolder = "scans"\nworkdir = "work"\n')
    return path


@pytest.fixture
def run(site: Path, capsys: pytest.CaptureFixture[str]) -> Any:
    def call(*arguments: str) -> SimpleNamespace:
        status = console.run(app, PROGRAM, [*arguments, "--site", str(site)])
        said = capsys.readouterr()
        return SimpleNamespace(status=status, out=said.out, err=said.err)

    return call


@pytest.fixture
def pending(site: Path, signed: bytes, small: SimpleNamespace) -> None:
    keep_offer(site.parent / "work", signed, small.key.public)


@pytest.mark.usefixtures("pending")
def test_a_plan_is_listed_shown_approved_and_revoked(run: Any, plan: StudyPlan, signed: bytes, tmp_path: Path) -> None:
    assert "pending" in run("plans").out
    shown = run("show", plan.digest[:8])
    assert shown.status == 0 and plan.digest in shown.out and "nothing was approved here before" in shown.out
    assert run("approve", plan.digest[:8], "--yes").status == 0
    (row,) = json.loads(run("plans", "--json").out)
    assert row["approved"] and row["digest"] == plan.digest
    assert run("revoke", plan.digest[:8]).status == 0
    assert "pending" in run("plans").out
    (tmp_path / "any-name.json").write_bytes(signed)
    assert run("approve", str(tmp_path / "any-name.json"), "--yes").status == 0
    assert run("revoke", str(tmp_path / "any-name.json")).status == 0
    again = run("revoke", plan.digest[:8])
    assert again.status == 2 and "0 approved plans" in again.err


@pytest.mark.usefixtures("pending")
def test_show_says_what_would_leave_in_tensors_megabytes_numbers_and_keys(run: Any, plan: StudyPlan) -> None:
    facts = json.loads(run("show", plan.digest[:8], "--json").out)
    (stage,) = facts["tensors"]
    own = 2 + 2 * 2 * 2
    assert stage == {"stage": "generator", "rounds": 2, "tensors": own, "mb_a_round": 0.0, "private": False}
    assert facts["numbers"] == sorted(plan.metrics) and facts["numbers_that_stay"] == []
    assert [entry["fingerprint"] for entry in facts["sites"]] == ["no key", "no key"]
    assert facts["privacy"] == {"stages": []} and facts["compared_with"] is None


def test_show_sets_epsilon_beside_the_budget_and_what_was_spent(
    run: Any, site: Path, tmp_path: Path, small: SimpleNamespace
) -> None:
    site.write_text(site.read_text() + '[policy]\nepsilon_budget = 10.0\nmetrics = ["held_out.*"]\n')
    text = small.study + '[privacy]\nstages = ["generator"]\nepsilon = 4.0\n'
    (tmp_path / "plan.json").write_bytes(write_plan(small.plan_of(text), small.key))
    private = run("show", str(tmp_path / "plan.json")).out
    assert "epsilon at most 4 at delta 1e-05" in private and "10 left of the site's" in private
    assert "kept back by policy.metrics: training." in private


@pytest.mark.usefixtures("pending")
def test_approving_asks_for_the_studys_name(run: Any, plan: StudyPlan, monkeypatch: pytest.MonkeyPatch) -> None:
    for typed, status in (("yes", 2), ("tiny", 0)):
        monkeypatch.setattr("typer.prompt", lambda *_, typed=typed, **__: typed)
        assert run("approve", plan.digest[:8]).status == status
        assert json.loads(run("plans", "--json").out)[0]["approved"] == (status == 0)


@pytest.mark.usefixtures("pending")
def test_a_changed_plan_is_shown_as_a_difference(run: Any, plan: StudyPlan, tmp_path: Path, small: Any) -> None:
    assert run("approve", plan.digest[:8], "--yes").status == 0
    newer = small.plan_of(small.study.replace("rounds = 2", "rounds = 40"))
    (tmp_path / "newer.json").write_bytes(write_plan(newer, small.key))
    shown = run("show", str(tmp_path / "newer.json")).out
    assert "1 change since plan" in shown and "stages.generator.rounds" in shown and "40" in shown
    changes = json.loads(run("show", str(tmp_path / "newer.json"), "--json").out)["changes"]
    assert changes == [{"what": "study stages.generator.rounds", "before": "2", "now": "40"}]


def test_a_plan_that_nobody_signed_is_refused_with_what_to_do(run: Any, tmp_path: Path, signed: bytes) -> None:
    (tmp_path / "plan.json").write_bytes(signed.replace(b"/runs/tiny", b"/else/tiny"))
    for verb in (["show"], ["approve", "--yes"]):
        said = run(*verb, str(tmp_path / "plan.json"))
        assert said.status == 5 and "not signed by the key" in said.err


@pytest.mark.usefixtures("pending")
def test_the_log_is_verified_shown_and_exported(run: Any, plan: StudyPlan, tmp_path: Path) -> None:
    run("approve", plan.digest[:8], "--yes")
    noted = json.loads(run("audit", "verify", "--json").out)
    assert noted["entries"] == 1
    run("stop", "0" * 16)
    assert run("audit", "verify", "--noted", noted["digest"]).status == 0
    assert run("audit", "verify", "--noted", "1" * 64).status == 5
    shown = run("audit", "show").out
    assert "approved" in shown and "stopped" in shown
    for name in ("log.json", "log.csv"):
        assert run("audit", "export", str(tmp_path / name)).status == 0
    entries = json.loads((tmp_path / "log.json").read_text())
    rows = list(csv.DictReader((tmp_path / "log.csv").read_text().splitlines()))
    assert [entry["kind"] for entry in entries] == [row["kind"] for row in rows] == ["approved", "stopped"]
    assert entries[0]["plan"] == rows[0]["plan"] == plan.digest
    path = tmp_path / "work" / "audit" / "audit.jsonl"
    path.write_bytes(path.read_bytes().replace(b'"stopped"', b'"revoked"'))
    for verb in (["verify"], ["show"], ["export", str(tmp_path / "late.csv")]):
        said = run("audit", *verb)
        assert said.status == 5 and "line 2" in said.err
    assert not (tmp_path / "late.csv").exists()
