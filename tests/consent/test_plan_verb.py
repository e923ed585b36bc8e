"""`gliofed-server plan`: from a study and a consortium to the signed file that the sites are asked to approve."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from common import console
from common.approval.study_plan import read_plan
from common.identity.signing import Purpose, SigningKey, VerifyKey, write_signed
from common.settings.stages import Stage
from common.study import parse_study
from server.approval.written_plans import offered_plan, plan_of_run
from server.cli import PROGRAM, app
from server.consortium.beginning import begin_consortium
from server.consortium.folder import Consortium
from server.consortium.settings import ConsortiumSettings
from server.hosting.bundle import read_bundle, write_bundle
from server.hosting.submit import planned_run_config


@pytest.fixture
def consortium(tmp_path: Path, small: SimpleNamespace) -> Consortium:
    """A consortium of two sites, with its bundle."""
    place = Consortium(tmp_path / "consortium")
    begin_consortium(place, ConsortiumSettings(name="glioma-net", hosts=("gliofed.example.org",)))
    key = SigningKey.load(place.signing_key)
    write_signed(place.roster, small.roster.to_toml().encode(), key, Purpose.ROSTER)
    write_bundle(place.bundle, key)
    return place


@pytest.fixture
def plan(consortium: Consortium, small: SimpleNamespace, capsys: pytest.CaptureFixture[str]) -> Any:
    """Call the verb; `.facts` is its JSON."""

    def call(*more: str, study: str = small.study) -> SimpleNamespace:
        path = consortium.folder / "study.toml"
        path.write_text(study)
        status = console.run(app, PROGRAM, ["plan", str(path), str(consortium.folder), "--json", *more])
        said = capsys.readouterr()
        return SimpleNamespace(status=status, err=said.err, facts=json.loads(said.out) if status == 0 else None)

    return call


def test_the_plan_binds_study_code_bundle_roster_run_and_what_the_models_send(
    plan: Any, consortium: Consortium, small: SimpleNamespace
) -> None:
    facts, pinned = plan().facts, VerifyKey.load(consortium.signing_pub)
    path = Path(facts["file"])
    assert path == consortium.plans / f"{facts['digest']}.json"
    written = read_plan(path.read_bytes(), pinned)
    study = parse_study(small.study)
    assert (written.study, written.study_digest) == (study, study.digest)
    assert written.bundle_sha256 == read_bundle(consortium.bundle, pinned)[0].sha256
    assert written.roster == small.roster
    assert written.fits_run(planned_run_config("tiny") | {"resume": True})
    groups = written.outgoing[Stage.GENERATOR]
    assert {"shared", "domain/a:T1", "domain/b:T2:lesion"} <= set(groups) and len(groups["shared"]) > 50
    assert facts["tensors"] == sum(map(len, groups.values()))


def test_the_run_finds_the_plan_in_its_folder_and_sends_it_as_it_was_signed(
    plan: Any, consortium: Consortium, small: SimpleNamespace
) -> None:
    facts = plan("--run", "first").facts
    study = parse_study(small.study)
    assert plan_of_run(consortium, "first").digest == facts["digest"]
    assert offered_plan(consortium.run("first"), study) == Path(facts["file"]).read_text()
    assert (consortium.run("first") / "study.toml").read_text() == small.study
    assert offered_plan(consortium.run("second"), study) is None


def test_a_run_that_has_begun_gets_no_other_plan(plan: Any, consortium: Consortium) -> None:
    (consortium.run("tiny") / "journal").mkdir(parents=True)
    said = plan()
    assert said.status == 2 and "has begun" in said.err


def test_a_study_with_a_site_that_was_never_admitted_gets_no_plan(plan: Any, small: SimpleNamespace) -> None:
    said = plan(study=small.study.replace('["a", "b"]', '["a", "b", "c"]'))
    assert said.status == 2 and "the roster lacks c" in said.err


def test_a_key_that_is_not_the_consortiums_signs_no_plan(plan: Any, tmp_path: Path) -> None:
    SigningKey.generate().save(tmp_path / "other.key")
    said = plan("--signing-key", str(tmp_path / "other.key"))
    assert said.status == 5 and "not the consortium's" in said.err


def test_the_signing_key_may_lie_elsewhere(plan: Any, consortium: Consortium, tmp_path: Path) -> None:
    consortium.signing_key.rename(tmp_path / "signing.key")
    assert plan().status == 2
    assert plan("--signing-key", str(tmp_path / "signing.key")).status == 0


def test_a_roster_that_was_changed_after_it_was_signed_is_in_no_plan(plan: Any, consortium: Consortium) -> None:
    consortium.roster.write_text(consortium.roster.read_text().replace("node = 2", "node = 3"))
    said = plan()
    assert said.status == 5 and "not signed by the key" in said.err


def test_a_name_that_is_a_path_is_no_run(plan: Any) -> None:
    said = plan("--run", "../elsewhere")
    assert said.status == 2 and "no name of a run" in said.err
