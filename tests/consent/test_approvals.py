"""Consent at a site: who approved what, what it opens, and that it ends when it is taken back."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from client.config import Policy, SiteConfig
from client.consent import offers as offered
from client.consent.approvals import (
    NotApprovedError,
    approvals,
    approved,
    approved_plan,
    keep_approval,
    parse_approval,
    remove_approval,
    require_approval,
)
from client.consent.decisions import OtherPlanError, approve, check_fits, revoke, stop
from client.consent.difference import changes
from client.consent.offers import find_plan, keep_offer
from client.privacy.audit import AuditLog
from client.stopping import StoppedError, refuse_if_stopped
from common.approval.study_plan import SignedPlan, StudyPlan, parse_signed_plan, write_plan
from common.errors import StudyError
from common.identity.signing import SignatureError, SigningKey
from common.roster_file import Roster, RosterSite


@pytest.fixture
def config(tmp_path: Path) -> SiteConfig:
    return SiteConfig(name="a", folder=tmp_path / "scans", workdir=tmp_path / "work")


def test_without_an_approval_nothing_may_run(config: SiteConfig, plan: StudyPlan) -> None:
    with pytest.raises(NotApprovedError) as caught:
        require_approval(config.workdir, config.policy, plan.study_digest)
    assert caught.value.code == "not-approved"
    assert require_approval(config.workdir, Policy(approve_everything=True), plan.study_digest) is None


def test_an_approval_says_who_and_when_and_opens_its_study_alone(
    config: SiteConfig, signed: bytes, plan: StudyPlan, small: SimpleNamespace
) -> None:
    approval = approve(config, parse_signed_plan(signed), small.key.public)
    assert approval.approved_by and (datetime.now(UTC) - approval.approved_at).total_seconds() < 60
    assert approved(config.workdir) == [plan]
    assert require_approval(config.workdir, config.policy, plan.study_digest) == plan
    with pytest.raises(NotApprovedError):
        approved_plan(config.workdir, "1" * 64)


def test_the_plan_that_was_approved_last_counts(config: SiteConfig, plan: StudyPlan, small: SimpleNamespace) -> None:
    newer = small.plan_of(metrics=["held_out.loss"])
    for day, each in ((2, newer), (1, plan)):
        keep_approval(config.workdir, SignedPlan(plan=each, signature=""), "b", datetime(2026, 1, day, tzinfo=UTC))
    assert approved_plan(config.workdir, plan.study_digest) == newer


def test_a_revoked_plan_opens_nothing_and_both_decisions_are_in_the_log(
    config: SiteConfig, signed: bytes, plan: StudyPlan, small: SimpleNamespace
) -> None:
    approve(config, parse_signed_plan(signed), small.key.public)
    revoke(config, plan.digest)
    with pytest.raises(NotApprovedError):
        require_approval(config.workdir, config.policy, plan.study_digest)
    with pytest.raises(NotApprovedError, match="nothing to revoke"):
        revoke(config, plan.digest)
    stop(config, "0" * 16)
    with pytest.raises(StoppedError):
        refuse_if_stopped(config.workdir, "0" * 16)
    entries = list(AuditLog(config.workdir).entries())
    assert [entry.kind for entry in entries] == ["approved", "revoked", "stopped"]
    assert entries[0].plan == entries[1].plan == plan.digest and all(entry.by for entry in entries)
    assert offered.offers(config.workdir, small.key.public), "it can be read, and approved, again"


def test_a_plan_that_another_superseded_does_not_come_back_when_that_one_is_revoked(
    config: SiteConfig, plan: StudyPlan, small: SimpleNamespace
) -> None:
    newer = small.plan_of(roster=Roster(sites={"a": RosterSite(node=1), "b": RosterSite(node=9)}))
    elsewhere = small.plan_of(small.study.replace("rounds = 2", "rounds = 3"))
    for each in (elsewhere, plan, newer):
        approve(config, parse_signed_plan(write_plan(each, small.key)), small.key.public)
    assert approved(config.workdir) == [elsewhere, newer], "another study's plan stays approved"
    revoke(config, newer.digest)
    with pytest.raises(NotApprovedError):
        require_approval(config.workdir, config.policy, plan.study_digest)
    ended = [entry for entry in AuditLog(config.workdir).entries() if entry.kind == "revoked"]
    assert [(entry.plan, entry.note) for entry in ended] == [
        (plan.digest, f"superseded by {newer.digest}"),
        (newer.digest, None),
    ]


def test_an_approval_that_was_changed_or_renamed_approves_nothing(config: SiteConfig, plan: StudyPlan) -> None:
    keep_approval(config.workdir, SignedPlan(plan=plan, signature=""), "someone")
    path = config.workdir / "approvals" / f"{plan.digest}.json"
    whole = path.read_bytes()
    path.write_bytes(whole.replace(b"training.loss", b"training.gain"))
    assert approvals(config.workdir) == ()
    path.write_bytes(whole[:-5])
    assert approvals(config.workdir) == ()
    path.rename(path.with_name("1" * 64 + ".json"))
    assert approvals(config.workdir) == ()
    path.write_bytes(whole)
    assert len(approvals(config.workdir)) == 1
    remove_approval(config.workdir, plan.digest)
    assert approvals(config.workdir) == ()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"code_version": "0.0+000000000000"}, "installed is"),
        ({"study_digest": "1" * 64}, "not the one of its digest"),
    ],
)
def test_a_plan_for_other_code_or_of_another_study_cannot_be_approved(
    config: SiteConfig, small: SimpleNamespace, change: dict[str, Any], message: str
) -> None:
    with pytest.raises(OtherPlanError, match=message):
        check_fits(config, small.plan_of(**change))


def test_a_plan_without_this_site_or_with_another_key_of_it_cannot_be_approved(
    config: SiteConfig, tmp_path: Path, small: SimpleNamespace
) -> None:
    with pytest.raises(OtherPlanError, match="c is not among its sites"):
        check_fits(config.model_copy(update={"name": "c"}), small.plan_of())
    own, other = SigningKey.generate(), SigningKey.generate()
    own.save(tmp_path / "site.key")
    keyed = config.model_copy(update={"signing_key": tmp_path / "site.key"})
    for key, fits in ((own, True), (other, False)):
        seats = {"a": RosterSite(node=1, signing_key=key.public.pem), "b": RosterSite(node=2)}
        plan = small.plan_of(roster=Roster(sites=seats))
        if fits:
            check_fits(keyed, plan)
        else:
            with pytest.raises(OtherPlanError, match="another key for this site"):
                check_fits(keyed, plan)


def test_a_plan_that_is_not_signed_by_the_pinned_key_is_not_even_kept(config: SiteConfig, signed: bytes) -> None:
    with pytest.raises(SignatureError):
        keep_offer(config.workdir, signed, SigningKey.generate().public)
    assert not (config.workdir / "plans").exists()


def test_a_plan_is_named_by_its_file_or_by_the_first_digits_of_its_digest(
    config: SiteConfig, tmp_path: Path, signed: bytes, plan: StudyPlan, small: SimpleNamespace
) -> None:
    (tmp_path / "plan.json").write_bytes(signed)
    assert find_plan(str(tmp_path / "plan.json"), config.workdir, small.key.public).plan == plan
    with pytest.raises(StudyError, match="no plan that is kept here"):
        find_plan(plan.digest[:8], config.workdir, small.key.public)
    keep_offer(config.workdir, signed, small.key.public)
    assert find_plan(plan.digest[:8], config.workdir, small.key.public).plan == plan
    with pytest.raises(StudyError, match="at least 6"):
        find_plan(plan.digest[:3], config.workdir, small.key.public)


def test_a_coordinator_cannot_fill_the_disk_with_plans(
    config: SiteConfig, small: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(offered, "MOST", 2)
    for number, last in ((1, False), (2, False), (2, False), (3, True)):
        blob = write_plan(small.plan_of(bundle_sha256=str(number) * 64), small.key)
        if last:
            with pytest.raises(StudyError, match="2 plans are kept already"):
                keep_offer(config.workdir, blob, small.key.public)
        else:
            keep_offer(config.workdir, blob, small.key.public)


def test_the_difference_names_every_change_and_nothing_else(plan: StudyPlan, small: SimpleNamespace) -> None:
    assert changes(plan, plan) == () and changes(plan, small.plan_of(created="2026-12-01")) == ()
    text = small.study.replace("rounds = 2", "rounds = 9")
    seats = {"a": RosterSite(node=1), "b": RosterSite(node=7)}
    other = small.plan_of(text, Roster(sites=seats), metrics=["held_out.loss"], bundle_sha256="2" * 64)
    found = {change.what: (change.before, change.now) for change in changes(plan, other)}
    assert found.pop("study stages.generator.rounds") == ("2", "9")
    assert found.pop("site b") == ("no key at node 2", "no key at node 7")
    assert found.pop("bundle") == ("0" * 64, "2" * 64)
    assert found and all(what.startswith("number ") and now == "-" for what, (_, now) in found.items())


def test_a_new_tensor_is_a_difference(plan: StudyPlan, small: SimpleNamespace) -> None:
    tree = plan.model_dump()["outgoing"]
    tree["generator"]["shared"]["patients"] = ("float32", (100, 100))
    (change,) = changes(plan, small.plan_of(outgoing=tree))
    assert (change.what, change.before) == ("tensor generator patients", "-")
    assert change.now == "float32 [100, 100] as shared"


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(start=st.integers(0, 3000), cut=st.integers(0, 50), put=st.binary(max_size=30))
def test_no_bytes_break_the_parser_of_an_approval(
    tmp_path_factory: pytest.TempPathFactory, plan: StudyPlan, start: int, cut: int, put: bytes
) -> None:
    folder = tmp_path_factory.getbasetemp() / "fuzzed-approval"
    keep_approval(folder, SignedPlan(plan=plan, signature=""), "someone")
    whole = (folder / "approvals" / f"{plan.digest}.json").read_bytes()
    blob = whole[:start] + put + whole[start + cut :]
    try:
        assert parse_approval(blob, plan.digest).plan == plan, "what still parses is the same plan"
    except NotApprovedError:
        assert blob != whole
