"""What a site makes of the runs that reach it: nothing of a bundle is run, and nothing is trained without approval."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path

import pytest

from client.consent.approvals import keep_approval, remove_approval
from client.privacy.audit import AuditLog
from common.approval.study_plan import StudyPlan, read_signed_plan, write_plan
from common.identity.signing import SigningKey
from common.roster_file import load_roster
from common.sources import installed_sources
from common.study import code_version, parse_study
from server.hosting.submit import planned_run_config, submit
from tests.closed.place import Place, put_bundle

INVALID_FAB = 7
STUDY = """
name = "closed"
sites = ["hospital-a", "hospital-b"]
reference_site = "hospital-a"
[stages.generator]
rounds = 1
local_steps = 1
"""


def approve(place: Place, site: str, run: str, bundle_sha256: str) -> str:
    """Let a site approve a plan for a run of this name with this bundle; return its digest."""
    study = parse_study(STUDY)
    plan = StudyPlan(
        study_text=STUDY,
        study_digest=study.digest,
        code_version=code_version(),
        bundle_sha256=bundle_sha256,
        roster=load_roster(place.consortium.roster),
        run_config=planned_run_config(run),
        outgoing={},
        metrics=(),
        privacy=study.privacy,
        secure_aggregation=study.secure_aggregation,
        created=date(2026, 1, 1),
    )
    key = place.signing_key
    keep_approval(place.sites[site].work, read_signed_plan(write_plan(plan, key), key.public), "a person")
    return plan.digest


def code(reply: dict[str, dict[str, str]]) -> str:
    """Return the code of an answer, which is all that may be in it."""
    assert list(reply) == ["answer"], reply
    return json.loads(reply["answer"]["json"])["code"]


def test_one_site_approved_and_answers_and_the_other_did_not_and_answers_a_code(place: Place) -> None:
    bundle = put_bundle(place.consortium, place.signing_key, installed_sources())
    digest = approve(place, "hospital-a", "approved", bundle)
    asked = [place.message("hospital-a", "train"), place.message("hospital-b", "train")]
    replies = place.play("approved", asked, lambda settings: submit(place.consortium, settings))
    remove_approval(place.sites["hospital-a"].work, digest)
    assert [code(reply) for reply in replies] == ["malformed", "not-approved"]
    sent = {name: [entry.code for entry in AuditLog(site.work).entries()][-1] for name, site in place.sites.items()}
    assert sent == {"hospital-a": "malformed", "hospital-b": "not-approved"}


@pytest.mark.slow
def test_a_bundle_that_nobody_signed_is_refused_by_every_site(place: Place, tmp_path: Path) -> None:
    app = write_app(tmp_path / "app", tmp_path / "run-at-the-site")
    asked = [place.message(site, "query") for site in place.sites]

    def submit_unsigned(settings: dict[str, str | bool]) -> None:
        words = " ".join(f'{key}="{value}"' for key, value in settings.items())
        assert place.flwr("run", str(app), place.consortium.settings.name, "--run-config", words)["success"]

    replies = place.play("unsigned", asked, submit_unsigned)
    assert [reply["error"] for reply in replies] == [INVALID_FAB] * 2
    assert not (tmp_path / "run-at-the-site").exists()


@pytest.mark.slow
def test_a_bundle_signed_by_another_key_is_refused_by_every_site(place: Place) -> None:
    consortium, stranger = place.consortium, SigningKey.generate()
    before = consortium.signing_pub.read_bytes()
    consortium.signing_pub.write_text(stranger.public.pem)  # whoever holds the server can do so
    try:
        put_bundle(consortium, stranger, installed_sources())
        asked = [place.message(site, "query") for site in place.sites]
        replies = place.play("stranger", asked, lambda settings: submit(consortium, settings))
    finally:
        consortium.signing_pub.write_bytes(before)
    assert [reply["error"] for reply in replies] == [INVALID_FAB] * 2


@pytest.mark.slow
def test_a_signed_bundle_of_other_code_is_not_run_and_answered_so(place: Place, tmp_path: Path) -> None:
    mark = tmp_path / "run-at-the-site"
    theirs = f"from pathlib import Path\nPath({str(mark)!r}).touch()\n".encode()
    sources = {**installed_sources(), "client/app.py": theirs + installed_sources()["client/app.py"]}
    bundle = put_bundle(place.consortium, place.signing_key, sources)
    digest = approve(place, "hospital-a", "other", bundle)  # not even an approval lets it run
    asked = [place.message("hospital-a", "train"), place.message("hospital-b", "query")]
    replies = place.play("other", asked, lambda settings: submit(place.consortium, settings))
    remove_approval(place.sites["hospital-a"].work, digest)
    assert [code(reply) for reply in replies] == ["other-code"] * 2
    assert not mark.exists()


@pytest.mark.slow
def test_an_altered_run_configuration_and_a_question_without_approval_are_answered_by_a_code(place: Place) -> None:
    bundle = put_bundle(place.consortium, place.signing_key, installed_sources())
    digest = approve(place, "hospital-a", "altered", bundle)
    asked = [place.message("hospital-a", "train"), place.message("hospital-b", "query")]
    altered = {"start_from": "runs/another"}
    replies = place.play("altered", asked, lambda settings: submit(place.consortium, {**settings, **altered}))
    remove_approval(place.sites["hospital-a"].work, digest)
    assert [code(reply) for reply in replies] == ["not-approved", "not-approved"]


def write_app(folder: Path, mark: Path) -> Path:
    """Write a Flower app that sends messages, and that would leave a mark where its client side is loaded."""
    folder.mkdir(parents=True)
    (folder / "theirs.py").write_text(
        f"from pathlib import Path\nPath({str(mark)!r}).touch()\n"
        "from flwr.clientapp import ClientApp\napp = ClientApp()\n"
    )
    source = Path(__file__).with_name("messenger.py").read_text()
    (folder / "sender.py").write_text(source)
    (folder / "pyproject.toml").write_text(
        '[project]\nname = "theirs"\nversion = "0.1.0"\ndescription = ""\nlicense = "Apache-2.0"\n'
        '[tool.flwr.app]\npublisher = "nobody"\n'
        '[tool.flwr.app.components]\nserverapp = "sender:app"\nclientapp = "theirs:app"\n'
        "[tool.flwr.app.config]\n" + "\n".join(f'{key} = ""' for key in planned_run_config("x"))
    )
    return folder
