"""The guard at a site: which message the installed app answers, which a code; nothing of a bundle is loaded."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from flwr.app import ConfigRecord, Context, Message, RecordDict
from flwr.supercore.task_identity import TaskIdentity
from flwr.supernode.runtime import run_clientapp

from client.enrolment.beginning import begin_site
from client.enrolment.folder import SiteFolder
from client.node.guard import Guard, stand_before
from client.node.verdict import Verdict, judge
from client.privacy.audit import AuditLog
from common.parcel import unwrap
from common.records import ANSWER, Answer, read_text
from common.sources import Shipped
from server.hosting.bundle import build_bundle

BUNDLE = "b" * 64
OURS, THEIRS = Shipped(BUNDLE, same_code=True), Shipped(BUNDLE, same_code=False)
KINDS = ("query", "query.stop", "train", "train.masked", "evaluate")


@dataclass
class Plan:
    bundle_sha256: str | None = BUNDLE
    run_config: Mapping[str, object] | None = None
    study_digest: str = "1" * 64

    def fits_run(self, run_config: Mapping[str, object]) -> bool:
        return run_config == (self.run_config or {})


@pytest.mark.parametrize("kind", KINDS)
def test_an_approved_plan_of_this_bundle_and_this_run_lets_everything_be_answered(kind: str) -> None:
    assert judge(OURS, kind, {}, [Plan(bundle_sha256="c" * 64), Plan()]) is Verdict.RUN


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "plans", [[], [Plan(bundle_sha256="c" * 64)], [Plan(bundle_sha256=None)], [Plan(run_config={"start_from": "x"})]]
)
def test_without_one_a_question_leaves_its_plan_and_nothing_else_happens(kind: str, plans: list[Plan]) -> None:
    expected = Verdict.ASK if kind.startswith("query") else Verdict.NOT_APPROVED
    assert judge(OURS, kind, {}, plans) is expected


@pytest.mark.parametrize("kind", KINDS)
def test_no_approval_lets_other_code_be_answered(kind: str) -> None:
    assert judge(THEIRS, kind, {}, [Plan()]) is Verdict.OTHER_CODE


# ---- as Flower calls it


@pytest.fixture(autouse=True)
def task(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, number in (("run_id", 1), ("task_id", 1), ("node_id", 2)):
        monkeypatch.setattr(TaskIdentity, f"_{name}", number)


@pytest.fixture
def site(tmp_path: Path) -> SiteFolder:
    (tmp_path / "scans").mkdir()
    made = SiteFolder(tmp_path / "site" / "site.toml")
    begin_site(made, "hospital-a", tmp_path / "scans")
    return made


def context_of(site: SiteFolder | None, **run_config: str | bool) -> Context:
    node_config: dict[str, Any] = {} if site is None else {"site": str(site.toml)}
    return Context(run_id=1, node_id=2, node_config=node_config, state=RecordDict(), run_config=dict(run_config))


def question(kind: str = "train") -> Message:
    message = Message(RecordDict({"task": ConfigRecord({"json": "{}"})}), dst_node_id=2, message_type=kind)
    message.metadata.__dict__["_message_id"] = "m"
    return message


def code_of(reply: Message) -> str:
    assert list(reply.content) == [ANSWER]
    return read_text(unwrap(reply.content), ANSWER, Answer).code


def never(message: Message, context: Context) -> Message:
    raise AssertionError("the installed app was called")


def guard_with(bundle: bytes) -> Guard:
    guard = Guard(never)
    guard.look_at(bundle, skip_prompt=True)
    return guard


def test_a_task_without_approval_is_answered_by_a_code_which_is_in_the_audit_log(site: SiteFolder) -> None:
    reply = guard_with(build_bundle())(question(), context_of(site))
    assert code_of(reply) == "not-approved"
    assert [entry.code for entry in AuditLog(site.work).entries()] == ["not-approved"]


def test_a_bundle_that_cannot_be_read_holds_other_code(site: SiteFolder) -> None:
    assert code_of(guard_with(b"PK no bundle")(question("query"), context_of(site))) == "other-code"


def test_a_guard_that_has_seen_no_bundle_lets_nothing_pass(site: SiteFolder) -> None:
    assert code_of(Guard(never)(question("query"), context_of(site))) == "other-code"


def test_a_broken_site_answers_a_code_and_no_text(site: SiteFolder) -> None:
    site.toml.write_text("secret = /data/scanner-7")
    reply = guard_with(build_bundle())(question(), context_of(site))
    assert code_of(reply) == "study"
    assert "scanner" not in str(reply.content)
    assert code_of(guard_with(build_bundle())(question(), context_of(None))) == "study"


def test_an_approved_task_is_answered_by_the_installed_app(site: SiteFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    shipped = Shipped.of(build_bundle())
    monkeypatch.setattr("client.node.guard.approved_at", lambda workdir: [Plan(shipped.sha256)])
    guard = Guard(lambda message, context: Message(RecordDict(), reply_to=message))
    guard.look_at(build_bundle())
    assert not guard(question(), context_of(site)).content


def about(study: str) -> ConfigRecord:
    return ConfigRecord({"json": json.dumps({"run": "0" * 16, "study_digest": study})})


@pytest.fixture
def guard(monkeypatch: pytest.MonkeyPatch) -> Guard:
    """The guard of a site that approved a run `one` of study 1, and for study 2 first a run `one`, then `two`."""
    sha256 = Shipped.of(build_bundle()).sha256
    runs = (("1", "one"), ("2", "one"), ("2", "two"))
    plans = [Plan(sha256, {"out": f"runs/{run}"}, study * 64) for study, run in runs]
    monkeypatch.setattr("client.node.guard.approved_at", lambda workdir: plans)
    made = Guard(lambda message, context: Message(RecordDict(), reply_to=message))
    made.look_at(build_bundle())
    return made


@pytest.mark.parametrize("kind", ["query", "train", "evaluate"])
def test_a_run_counts_as_approved_for_the_study_of_its_newest_plan_alone(
    site: SiteFolder, guard: Guard, kind: str
) -> None:
    for study, run, answered in (("1", "one", True), ("2", "two", True), ("2", "one", False), ("3", "one", False)):
        asked = question(kind)
        asked.content["task"] = about(study * 64)
        reply = guard(asked, context_of(site, out=f"runs/{run}"))
        assert (not reply.content) == answered, (study, run)
        assert answered or code_of(reply) == "not-approved"


@pytest.mark.parametrize("names", [("a", "task"), ("task", "z")])
def test_a_message_that_also_names_an_approved_study_is_not_answered_under_that_one(
    site: SiteFolder, guard: Guard, names: tuple[str, str]
) -> None:
    asked = question()
    del asked.content["task"]
    for name in names:
        asked.content[name] = about(("2" if name == "task" else "1") * 64)
    assert code_of(guard(asked, context_of(site, out="runs/one"))) == "malformed"


# ---- in the place of Flower's own


@pytest.mark.parametrize("guard", ["client.node.guard", "server.hosting.guard"])
def test_its_first_heartbeat_waits_for_nothing_heavy(guard: str) -> None:
    code = f"import sys, {guard}; raise SystemExit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_it_stands_where_the_pinned_flower_runs_bundles() -> None:
    stand_in = ModuleType("run_clientapp")
    vars(stand_in).update(vars(run_clientapp))
    guard = Guard(never)
    stand_before(stand_in, guard)
    load = stand_in.get_load_client_app_fn(default_app_ref="", app_path=None, multi_app=True)
    assert load("somebody/app", "1.0.0", "f" * 64) is guard
    with pytest.raises(RuntimeError, match="nothing that a bundle asks for"):
        stand_in.install_app_dependencies(Path(), launch_id="x")
    source = Path(str(run_clientapp.__file__)).read_text()
    for called in ("install_from_fab(fab.content", "get_load_client_app_fn(", "client_app(message=message, context"):
        assert called in source, "Flower's own way has changed; look whether the guard still stands in it"


def test_it_refuses_to_stand_in_a_flower_that_works_otherwise() -> None:
    with pytest.raises(RuntimeError, match="get_load_client_app_fn missing"):
        stand_before(SimpleNamespace(**{**vars(run_clientapp), "get_load_client_app_fn": None}), Guard(never))
