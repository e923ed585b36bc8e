"""What leaves a site is in its audit log byte for byte, and is what the approved plan names, message by message."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from datetime import date, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from flwr.app import ArrayRecord, Error, Message, RecordDict

from client.config import load_site
from client.consent.approvals import keep_approval, remove_approval
from client.consent.decisions import approve as approve_plan
from client.consent.decisions import revoke as revoke_plan
from client.consent.decisions import stop as stop_here
from client.consent.offers import offers
from client.privacy.audit import AuditLog
from client.privacy.audit_entry import Entry
from client.privacy.outbound import NotCoveredError, check_kept
from client.site import Site
from common.approval.study_plan import SignedPlan, StudyPlan, write_plan
from common.errors import StudyError
from common.identity.signing import SigningKey
from common.parcel import unwrap
from common.records import ANSWER, UPDATE, Answer, read_text
from common.roster_file import Roster, RosterSite
from common.settings.stages import Stage
from common.study import Study
from server.approval.make_plan import make_plan
from server.study_text import to_toml
from simulations import federation
from simulations.grid import InProcessGrid

ROSTER = Roster(sites={"a": RosterSite(node=1), "b": RosterSite(node=2)})


def plan_of(study: Study, tiny: SimpleNamespace, **more: Any) -> StudyPlan:
    plan = make_plan(to_toml(study), ROSTER, {}, None, date(2026, 11, 22), tiny.build)
    return StudyPlan.model_validate(plan.model_dump() | more)


def approve(consortium: Any, plan: StudyPlan, sites: str = "ab") -> None:
    """Let sites approve a plan, and nothing else."""
    for site in sites:
        path = consortium.sites[site]
        path.write_text(path.read_text().replace("approve_everything = true\n", ""))
        keep_approval(load_site(path).workdir, SignedPlan(plan=plan, signature=""), "a person")


def log_of(consortium: Any, site: str) -> list[Entry]:
    return list(AuditLog(load_site(consortium.sites[site]).workdir).entries())


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> dict[int, list[RecordDict]]:
    """Every answer by node, as the coordinator got it."""
    found: dict[int, list[RecordDict]] = {}
    deliver = InProcessGrid._deliver

    def spy(self: InProcessGrid, message: Message) -> Message:
        reply = deliver(self, message)
        found.setdefault(message.metadata.dst_node_id, []).append(unwrap(reply.content))
        return reply

    monkeypatch.setattr(InProcessGrid, "_deliver", spy)
    return found


def digests(content: RecordDict) -> dict[tuple[str, str], str]:
    return {
        (key, name): hashlib.sha256(array.data).hexdigest()
        for key, record in content.items()
        if isinstance(record, ArrayRecord)
        for name, array in record.items()
    }


def test_every_message_that_left_is_in_the_log_byte_for_byte_and_as_the_plan_says(
    consortium: Any, tiny: SimpleNamespace, sent: dict[int, list[RecordDict]]
) -> None:
    study = tiny.make_study()
    plan = plan_of(study, tiny)
    approve(consortium, plan)
    assert consortium.run(study).status == "complete"
    for (_, contents), site in zip(sorted(sent.items()), "ab", strict=True):
        entries = log_of(consortium, site)
        assert len(entries) == len(contents) >= 4, "the roll call and three rounds"
        for entry, content in zip(entries, contents, strict=True):
            logged = {(each.record, each.name): each.sha256 for each in entry.tensors}
            assert logged == digests(content)
            assert (entry.code, entry.plan, entry.study) == ("ok", plan.digest, study.digest)
        rounds = [entry for entry in entries if entry.tensors]
        assert [(entry.stage, entry.round) for entry in rounds] == [(Stage.GENERATOR, n) for n in (1, 2, 3)]
        planned = {name: form for group in plan.outgoing[Stage.GENERATOR].values() for name, form in group.items()}
        assert all(planned[each.name] == (each.dtype, each.shape) for entry in rounds for each in entry.tensors)
        assert all(name.removeprefix("metrics/") in plan.metrics for entry in rounds for name in entry.metrics)


def test_what_the_plan_does_not_name_stays_and_the_answer_says_which_group(
    consortium: Any, tiny: SimpleNamespace, sent: dict[int, list[RecordDict]]
) -> None:
    study = tiny.make_study()
    whole = plan_of(study, tiny)
    groups = dict(whole.outgoing[Stage.GENERATOR])
    groups["domain/a:T1"] = {**groups["domain/a:T1"], "heads.a:T1.weight": ("float32", (2, 2))}
    del groups["domain/a:T2"]
    narrow = plan_of(study, tiny, outgoing={Stage.GENERATOR: groups}, metrics=("held_out.loss",))
    approve(consortium, narrow)
    assert consortium.run(study).status == "complete"
    update = next(content for content in sent[min(sent)] if UPDATE in content)
    assert sorted(update[UPDATE]) == ["trunk.bias", "trunk.weight"]
    answer = read_text(update, ANSWER, Answer)
    assert {"domain/a:T1", "domain/a:T2"} <= set(answer.withheld)
    assert all("training.loss" not in str(record) for record in update["metrics"])


def test_a_number_that_the_sites_policy_does_not_name_stays(
    consortium: Any, tiny: SimpleNamespace, sent: dict[int, list[RecordDict]]
) -> None:
    for site in "ab":
        path = consortium.sites[site]
        path.write_text(path.read_text() + 'metrics = ["held_out.*"]\n')
    assert consortium.run(tiny.make_study()).status == "complete"
    updates = [content for contents in sent.values() for content in contents if UPDATE in content]
    assert updates and all(not set(update["metrics"]) & {"training.loss"} for update in updates)
    assert all("training.loss" in read_text(update, ANSWER, Answer).withheld for update in updates)


def test_a_revoked_plan_ends_a_round_at_its_next_step_and_the_next_message_is_refused(
    consortium: Any, tiny: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = tiny.make_study(federation="quorum = 1", **{"stages.generator": "rounds = 2\nlocal_steps = 50"})
    plan, steps = plan_of(study, tiny), []
    approve(consortium, plan)
    workdir = load_site(consortium.sites["b"]).workdir

    def revoke(step: Any) -> None:
        if step.site == "b":
            steps.append(step.step)
            if len(steps) == 3:
                remove_approval(workdir, plan.digest)

    hear = federation._Hearing.step

    def hearing(self: Any, done: Any) -> None:
        revoke(done)
        hear(self, done)

    monkeypatch.setattr(federation._Hearing, "step", hearing)
    result = consortium.run(study)
    assert len(steps) == 3, "not one step more was taken"
    assert {str(fault) for fault in result.faults} == {
        "b: not-approved (generator round 1)",
        "b: not-approved (generator round 2)",
    }
    assert [entry.code for entry in log_of(consortium, "b")] == ["ok", "not-approved", "not-approved"]


@pytest.mark.parametrize(("taken_back", "code"), [("consent", "not-approved"), ("run", "stopped")])
def test_what_is_taken_back_while_the_held_out_patients_are_scored_keeps_the_update_here(
    consortium: Any,
    tiny: SimpleNamespace,
    sent: dict[int, list[RecordDict]],
    taken_back: str,
    code: str,
) -> None:
    study = tiny.make_study(**{"stages.generator": "rounds = 1\nlocal_steps = 3"})
    plan = plan_of(study, tiny)
    approve(consortium, plan)
    configs = {site: load_site(consortium.sites[site]) for site in "ab"}

    def builder(stage: Stage) -> Any:
        def build_step(model: Any, place: Any) -> Any:
            made, config = tiny.linear_step()(stage)(model, place), configs[place.site_name]
            score = made.evaluate

            def scoring(store: Any) -> Any:
                if taken_back == "consent":
                    revoke_plan(config, plan.digest)
                else:
                    stop_here(config, str(log_of(consortium, config.name)[0].run))
                return score(store)

            made.evaluate = scoring
            return made

        return build_step

    assert consortium.run(study, bench=replace(tiny.bench, step_builder=builder)).status == "failed"
    for site in "ab":
        kinds = [(entry.kind, entry.code) for entry in log_of(consortium, site)]
        ended = "revoked" if taken_back == "consent" else "stopped"
        assert kinds[:3] == [("message", "ok"), (ended, None), ("message", code)]
        assert not any(entry.tensors or entry.metrics for entry in log_of(consortium, site))
    assert not any(set(content) - {ANSWER} for contents in sent.values() for content in contents)


def test_an_update_made_under_a_plan_that_another_superseded_meanwhile_stays(
    consortium: Any, tiny: SimpleNamespace, sent: dict[int, list[RecordDict]]
) -> None:
    study = tiny.make_study(**{"stages.generator": "rounds = 1\nlocal_steps = 3"})
    plan = plan_of(study, tiny)
    narrow = plan_of(study, tiny, metrics=("held_out.loss",))
    approve(consortium, plan)
    configs = {site: load_site(consortium.sites[site]) for site in "ab"}

    def builder(stage: Stage) -> Any:
        def build_step(model: Any, place: Any) -> Any:
            made, config = tiny.linear_step()(stage)(model, place), configs[place.site_name]
            score = made.evaluate

            def scoring(store: Any) -> Any:
                keep_approval(config.workdir, SignedPlan(plan=narrow, signature=""), "a person")
                revoke_plan(config, plan.digest, note=f"superseded by {narrow.digest}")
                return score(store)

            made.evaluate = scoring
            return made

        return build_step

    assert consortium.run(study, bench=replace(tiny.bench, step_builder=builder)).status == "failed"
    for site in "ab":
        entries = log_of(consortium, site)
        assert [entry.kind for entry in entries[:2]] == ["message", "revoked"] and entries[0].plan == plan.digest
        assert all((entry.code, entry.plan) == ("not-approved", None) for entry in entries[2:])
        assert not any(entry.tensors or entry.metrics for entry in entries)
    assert not any(set(content) - {ANSWER} for contents in sent.values() for content in contents)


def test_an_error_with_a_path_and_a_patient_leaves_as_its_code_and_nothing_else(
    consortium: Any, tiny: SimpleNamespace, sent: dict[int, list[RecordDict]]
) -> None:
    secret = "/data/scans/patient-7/T1.nii.gz"

    def opener(path: Path, study: Study) -> Site:
        if path.parent.name == "b":
            raise OSError(f"cannot read {secret} of Jane Doe")
        site: Site = tiny.open_cached(path, study)
        return site

    result = consortium.run(tiny.make_study(), opener=opener)
    assert [str(fault) for fault in result.faults] == ["b: unexpected (inventory)"]
    everything = str([{k: dict(r) for k, r in content.items()} for contents in sent.values() for content in contents])
    assert secret not in everything and "Jane" not in everything
    entry = log_of(consortium, "b")[0]
    assert entry.code == "unexpected" and secret not in entry.model_dump_json()


def test_an_answer_that_is_kept_and_sent_again_is_in_the_log_again(
    consortium: Any, tiny: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    deliver, lost = InProcessGrid._deliver, []

    def lose_one(self: InProcessGrid, message: Message) -> Message:
        reply = deliver(self, message)
        if message.metadata.message_type == "train" and not lost:
            lost.append(message.metadata.dst_node_id)
            return Message(Error(8, "the answer was lost on its way"), reply_to=message)
        return reply

    monkeypatch.setattr(InProcessGrid, "_deliver", lose_one)
    monkeypatch.setattr("server.exchange.RETRY_PAUSE_S", 0.0)
    study = tiny.make_study(**{"stages.generator": "rounds = 1\nlocal_steps = 3"})
    assert consortium.run(study).status == "complete" and lost
    updates = [entry.tensors for site in "ab" for entry in log_of(consortium, site) if entry.tensors]
    assert len(updates) == 3 and len(set(updates)) == 2, "the same bytes left twice, and the log says so twice"


def test_nothing_leaves_a_site_whose_log_was_cut(consortium: Any, tiny: SimpleNamespace) -> None:
    study = tiny.make_study(federation="quorum = 1")
    folder = load_site(consortium.sites["b"]).workdir
    for _ in range(3):
        AuditLog(folder).append("message")
    path = AuditLog(folder).path
    path.write_bytes(path.read_bytes()[:-200])
    result = consortium.run(study)
    assert {fault.code for fault in result.faults if fault.site == "b"} == {"audit-log"}


def test_a_kept_update_outside_the_plan_that_is_approved_now_stays(consortium: Any, tiny: SimpleNamespace) -> None:
    plan = plan_of(tiny.make_study(), tiny)
    leaving = plan.leaving(Stage.GENERATOR)
    check_kept({"trunk.bias": ("float32", (1,))}, ["training.loss"], leaving)
    for tensors, numbers in (({"trunk.bias": ("float32", (2,))}, []), ({"x": ("float32", (1,))}, []), ({}, ["x.y"])):
        with pytest.raises(NotCoveredError) as caught:
            check_kept(tensors, numbers, leaving)
        assert caught.value.code == "not-covered"


def test_a_site_that_did_not_approve_keeps_the_plan_trains_nothing_and_joins_once_a_person_approved(
    consortium: Any, tiny: SimpleNamespace, tmp_path: Path
) -> None:
    study, key = tiny.make_study(federation='required = ["b"]'), SigningKey.generate()
    plan = plan_of(study, tiny)
    approve(consortium, plan, "a")
    site = consortium.sites["b"]
    site.write_text(site.read_text().replace("approve_everything = true\n", ""))
    (site.parent / "kit").mkdir()
    (site.parent / "kit" / "signing.pub").write_text(key.public.pem)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "study-plan.json").write_bytes(write_plan(plan, key))

    result = consortium.run(study)
    assert result.status == "incomplete" and [str(fault) for fault in result.faults] == ["b: not-approved (inventory)"]
    workdir = load_site(site).workdir
    assert not (workdir / "state").exists(), "nothing was trained, nothing was kept"
    (offer,) = offers(workdir, key.public)
    assert offer.plan == plan

    approve_plan(load_site(site), offer, key.public)
    assert consortium.run(study, resume=True).status == "complete"
    assert [entry.code for entry in log_of(consortium, "b") if entry.kind == "message"][:2] == ["not-approved", "ok"]


def test_a_plan_that_another_key_signed_is_not_kept(consortium: Any, tiny: SimpleNamespace, tmp_path: Path) -> None:
    study = tiny.make_study()
    for site in consortium.sites.values():
        (site.parent / "kit").mkdir()
        (site.parent / "kit" / "signing.pub").write_text(SigningKey.generate().public.pem)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "study-plan.json").write_bytes(write_plan(plan_of(study, tiny), SigningKey.generate()))
    assert consortium.run(study).status == "complete"
    assert not any((load_site(site).workdir / "plans").exists() for site in consortium.sites.values())


def test_a_plan_of_another_study_ends_the_run_before_anybody_is_asked(
    consortium: Any, tiny: SimpleNamespace, tmp_path: Path
) -> None:
    other = tiny.make_study(**{"stages.generator": "rounds = 9"})
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "study-plan.json").write_bytes(write_plan(plan_of(other, tiny), SigningKey.generate()))
    with pytest.raises(StudyError, match="plan of another study"):
        consortium.run(tiny.make_study())
    assert log_of(consortium, "a") == []


def test_outside_its_hours_a_site_says_so_and_at_the_right_hour_it_takes_part(
    consortium: Any, tiny: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.exchange.HOURS_PAUSE_S", 0.01)
    clock = iter([datetime(2026, 11, 22, 19, 59)] * 2)  # a looks at it first, then b
    monkeypatch.setattr("client.limits.local_now", lambda: next(clock, datetime(2026, 11, 22, 20, 0)))
    path = consortium.sites["b"]
    path.write_text(path.read_text() + 'hours = "20:00-06:00"\n')
    assert consortium.run(tiny.make_study()).status == "complete"
    assert [entry.code for entry in log_of(consortium, "b")] == ["outside-hours", "ok", "ok", "ok", "ok"]


def test_a_site_whose_disk_may_hold_no_more_says_so_before_it_writes(consortium: Any, tiny: SimpleNamespace) -> None:
    path = consortium.sites["b"]
    path.write_text(path.read_text() + "disk_gb = 0.000001\n")
    result = consortium.run(tiny.make_study(federation="quorum = 1"))
    assert {str(fault) for fault in result.faults} == {"b: disk-limit (inventory)"}
    assert not (load_site(path).workdir / "state").exists()
