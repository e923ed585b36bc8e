"""What a site makes of the runs of a coordinator who is against it: nothing of a bundle is run, nothing is trained
without approval."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from client.consent.approvals import keep_approval, remove_approval
from client.privacy.audit import AuditLog
from common.approval.study_plan import read_signed_plan, write_plan
from common.identity.signing import SigningKey
from common.roster_file import load_roster
from common.sources import installed_sources
from server.hosting.submit import planned_run_config
from tests.closed.foreign_app import foreign_bundle
from tests.closed.place import Place, put_bundle
from tests.closed.plans import plan_of

INVALID_FAB = 7
SITE = "hospital-a"


@contextmanager
def approved(place: Place, run: str, bundle_sha256: str) -> Iterator[None]:
    """Let the site approve a plan for a run of this name with this bundle."""
    plan, key = plan_of(run, bundle_sha256, load_roster(place.consortium.roster)), place.signing_key
    keep_approval(place.sites[SITE].work, read_signed_plan(write_plan(plan, key), key.public), "a person")
    try:
        yield
    finally:
        remove_approval(place.sites[SITE].work, plan.digest)


def code(reply: dict[str, dict[str, str]]) -> str:
    """Return the code of an answer, which is all that may be in it."""
    assert list(reply) == ["answer"], reply
    return json.loads(reply["answer"]["json"])["code"]


def test_a_run_that_was_approved_is_answered_and_another_by_a_code(place: Place) -> None:
    with approved(place, "approved", put_bundle(place.consortium, place.signing_key)):
        asked = [place.message(SITE, "train")]
        replies = [
            *place.play(asked, lambda: place.submit(planned_run_config("approved"))),
            *place.play(asked, lambda: place.submit(planned_run_config("another"))),
        ]
    assert [code(reply) for reply in replies] == ["malformed", "not-approved"]
    logged = [entry.code for entry in AuditLog(place.sites[SITE].work).entries()]
    assert logged[-2:] == ["malformed", "not-approved"]


@pytest.mark.slow
def test_a_bundle_that_nobody_signed_is_refused_by_the_site(place: Place, tmp_path: Path) -> None:
    mark = tmp_path / "run-at-the-site"
    with place.control() as control:
        (reply,) = place.play(
            [place.message(SITE, "query")], lambda: control.submit(planned_run_config("unsigned"), foreign_bundle(mark))
        )
    assert reply["error"] == INVALID_FAB
    assert not mark.exists()


@pytest.mark.slow
def test_a_bundle_signed_by_another_key_is_refused_by_the_site(place: Place) -> None:
    consortium, stranger = place.consortium, SigningKey.generate()
    before = consortium.signing_pub.read_bytes()
    consortium.signing_pub.write_text(stranger.public.pem)  # whoever holds the server can do so
    try:
        put_bundle(consortium, stranger)
        asked = [place.message(SITE, "query")]
        (reply,) = place.play(asked, lambda: place.submit(planned_run_config("stranger")))
    finally:
        consortium.signing_pub.write_bytes(before)
        put_bundle(consortium, place.signing_key)
    assert reply["error"] == INVALID_FAB


@pytest.mark.slow
def test_a_signed_bundle_of_other_code_is_not_run_and_answered_so(place: Place, tmp_path: Path) -> None:
    mark = tmp_path / "run-at-the-site"
    theirs = f"from pathlib import Path\nPath({str(mark)!r}).touch()\n".encode()
    sources = {**installed_sources(), "client/app.py": theirs + installed_sources()["client/app.py"]}
    bundle = put_bundle(place.consortium, place.signing_key, sources)
    asked = [place.message(SITE, "train"), place.message(SITE, "query")]
    with approved(place, "other", bundle):  # not even an approval lets it run
        replies = place.play(asked, lambda: place.submit(planned_run_config("other")))
    put_bundle(place.consortium, place.signing_key)
    assert [code(reply) for reply in replies] == ["other-code"] * 2
    assert not mark.exists()


@pytest.mark.slow
def test_an_altered_run_configuration_is_answered_by_a_code(place: Place) -> None:
    altered = {**planned_run_config("altered"), "start_from": "runs/another"}
    asked = [place.message(SITE, "train"), place.message(SITE, "query")]
    with approved(place, "altered", put_bundle(place.consortium, place.signing_key)):
        replies = place.play(asked, lambda: place.submit(altered))
    assert [code(reply) for reply in replies] == ["not-approved", "not-approved"]
