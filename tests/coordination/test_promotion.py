"""A run's release is signed and handed out whole, with a dossier; whoever has a kit takes no other."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from client.cli import app as client_app
from client.trusted_release import require_trusted
from common import console
from common.errors import GliofedError, ReleaseError, StudyError
from common.identity.signing import Purpose, SignatureError, SigningKey, VerifyKey, read_signed
from common.release import load_release, read_release
from common.release_signature import SIGNATURE, sign_release, verify_signature
from server.cli import app
from server.consortium.folder import Consortium
from server.facts import releases
from server.promotion import promote
from simulations.chaos.arithmetic import write_site


def pinned(consortium: Consortium) -> VerifyKey:
    return VerifyKey.load(consortium.signing_pub)


def site_with_kit(folder: Path, key: str) -> Path:
    toml = write_site(folder, "hospital-a")
    (folder / "kit").mkdir()
    (folder / "kit" / "signing.pub").write_text(key)
    return toml


def test_a_promoted_release_is_whole_signed_and_listed(north: Consortium) -> None:
    done = promote(north, north.run("first"))
    release = load_release(done.folder)
    verify_signature(release, pinned(north))
    assert done.news and done.folder == north.releases / release.digest
    (facts,) = releases(north)
    assert (facts.digest, facts.signed_by, facts.problem) == (release.digest, done.signed_by, None)
    assert facts.training_patients == {"hospital-a": 2, "hospital-b": 2}
    assert [path.name for path in north.releases.iterdir()] == [release.digest], "nothing is left lying aside"


def test_promoting_again_changes_nothing(north: Consortium) -> None:
    first = promote(north, north.run("first"))
    before = {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in first.folder.iterdir()}
    north.signing_key.unlink()
    assert not promote(north, north.run("first")).news, "and needs no key"
    assert before == {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in first.folder.iterdir()}


def test_a_signing_key_that_was_moved_off_is_named_and_another_key_is_refused(
    north: Consortium, tmp_path: Path
) -> None:
    usb = tmp_path / "usb.key"
    shutil.move(north.signing_key, usb)
    with pytest.raises(StudyError, match="--signing-key"):
        promote(north, north.run("first"))
    SigningKey.generate().save(tmp_path / "other.key")
    with pytest.raises(StudyError, match="the consortium's key is SHA256:"):
        promote(north, north.run("first"), tmp_path / "other.key")
    assert not north.releases.exists() or not list(north.releases.iterdir())
    assert promote(north, north.run("first"), usb).news


def test_a_damaged_release_or_one_that_the_run_does_not_know_is_not_promoted(
    north: Consortium, tools: SimpleNamespace
) -> None:
    weights = north.run("first") / "release" / "generator.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(ReleaseError, match="SHA-256"):
        promote(north, north.run("first"))
    weights.write_bytes(whole)
    tools.play(north, "second", tools.study(tools.sites, rounds=1))
    shutil.rmtree(north.run("first") / "release")
    shutil.copytree(north.run("second") / "release", north.run("first") / "release")
    with pytest.raises(ReleaseError, match="unknown to the run's journal"):
        promote(north, north.run("first"))


def test_a_run_without_a_release_says_so(north: Consortium, tools: SimpleNamespace) -> None:
    def fall(event: Any) -> None:
        raise GliofedError("power cut")

    with pytest.raises(GliofedError, match="power cut"):
        tools.play(north, "cut", on_event=fall)
    with pytest.raises(ReleaseError, match="no release yet"):
        promote(north, north.run("cut"))


def test_a_full_disk_leaves_no_part_of_a_release(north: Consortium, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(source: Path, target: Path) -> None:
        target.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("server.promotion._copy", full)
    with pytest.raises(GliofedError, match="free space, then promote again"):
        promote(north, north.run("first"))
    assert list(north.releases.iterdir()) == [] and releases(north) == ()


def test_a_promoted_release_that_was_changed_is_listed_as_such_and_mended_by_promoting_again(
    north: Consortium,
) -> None:
    done = promote(north, north.run("first"))
    other = SigningKey.generate()
    sign_release(load_release(done.folder), other)
    (facts,) = releases(north)
    assert facts.signed_by is None and facts.problem is not None and "not signed by the key" in facts.problem
    assert promote(north, north.run("first")).news
    assert releases(north)[0].problem is None


def test_the_dossier_says_data_worst_site_privacy_attacks_and_lineage(north: Consortium) -> None:
    done = promote(north, north.run("first"))
    text = read_signed(done.folder / "dossier.json", pinned(north), Purpose.RELEASE, 10**7)
    dossier = json.loads(text)
    assert dossier["release"] == done.digest and dossier["consortium"] == "north"
    assert dossier["data"][0] == {
        "site": "hospital-a",
        "training_patients": 2,
        "sequences": {"T1": 2, "T1Gd": 2, "FLAIR": 2},
        "labelled_patients": 0,
        "bbb_patients": 0,
    }
    assert dossier["stages"]["generator"]["lineage"]["sites"] == {"hospital-a": 2, "hospital-b": 2}
    assert dossier["participation"]["generator"]["contributed"] == ["hospital-a", "hospital-b"]
    assert (dossier["metrics"], dossier["attacks"], dossier["privacy"]) == ([], [], {})
    page = (done.folder / "dossier.html").read_text()
    assert "nobody has measured how well it does" in page and "nothing here is called private" in page
    assert "src=" not in page and "href=" not in page, "it needs no other file"


def test_a_site_with_a_kit_takes_the_signed_release_and_no_other(north: Consortium, tmp_path: Path) -> None:
    release = promote(north, north.run("first")).folder
    site = site_with_kit(tmp_path / "site", pinned(north).pem)
    assert require_trusted(release, site) is None
    stranger = site_with_kit(tmp_path / "stranger", SigningKey.generate().public.pem)
    with pytest.raises(SignatureError, match="not signed by the key"):
        require_trusted(release, stranger)
    with pytest.raises(ReleaseError, match="is not signed"):
        require_trusted(north.run("first") / "release", site)
    (release / SIGNATURE).write_bytes(b"\xff" * 2000)
    with pytest.raises(ReleaseError, match="is no signature"):
        require_trusted(release, site)


def test_a_signature_of_another_release_is_refused(north: Consortium, tools: SimpleNamespace, tmp_path: Path) -> None:
    tools.play(north, "second", tools.study(tools.sites, rounds=1))
    first, second = (promote(north, north.run(name)).folder for name in ("first", "second"))
    shutil.copy(first / SIGNATURE, second / SIGNATURE)
    with pytest.raises(SignatureError):
        require_trusted(second, site_with_kit(tmp_path / "site", pinned(north).pem))


def test_without_a_kit_a_reader_is_warned_that_nobody_checked(north: Consortium, tmp_path: Path) -> None:
    doubt = require_trusted(north.run("first") / "release", write_site(tmp_path / "alone", "hospital-a"))
    assert doubt is not None and "--site" in doubt


def test_the_verbs_promote_list_and_speak_json(north: Consortium, capsys: pytest.CaptureFixture[str]) -> None:
    def said(*words: str) -> str:
        assert console.run(app, "gliofed-server", list(words)) == 0
        return capsys.readouterr().out

    assert "is signed by SHA256:" in said("promote", str(north.run("first")))
    (release,) = json.loads(said("releases", str(north.folder), "--json"))
    assert release["signed_by"].startswith("SHA256:") and release["stages"][0]["patients"] == {
        "hospital-a": 2,
        "hospital-b": 2,
    }
    assert release["digest"][:12] in said("releases", str(north.folder))
    listed = json.loads(said("sites", str(north.folder), "--json"))
    assert [(site["name"], site["online"], site["health"]) for site in listed] == [
        ("hospital-a", None, "unknown"),
        ("hospital-b", None, "unknown"),
    ]
    assert "gliofed-server serve" in said("sites", str(north.folder))


def test_completing_with_a_release_that_the_consortium_did_not_sign_ends_before_a_scan_is_opened(
    north: Consortium, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    release = promote(north, north.run("first")).folder
    words = ["complete", str(tmp_path / "scans"), "--out", str(tmp_path / "out"), "--release"]
    sites = {name: site_with_kit(tmp_path / name, key) for name, key in (
        ("own", pinned(north).pem), ("stranger", SigningKey.generate().public.pem)
    )}  # fmt: skip

    def ends_with(folder: Path, *site: str) -> int:
        return console.run(client_app, "gliofed-client", [*words, str(folder), *site])

    assert ends_with(release, "--site", str(sites["stranger"])) == SignatureError.exit_code
    assert ends_with(north.run("first") / "release", "--site", str(sites["own"])) == ReleaseError.exit_code
    capsys.readouterr()
    assert ends_with(release) != 0, "there are no scans"
    assert "warning: " in capsys.readouterr().err


@given(blob=st.binary(max_size=1200) | st.text("AZaz09+/=\n ", max_size=200).map(str.encode))
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_lies_in_place_of_a_signature_is_refused_and_nothing_else(
    played: Consortium, tmp_path: Path, blob: bytes
) -> None:
    folder = tmp_path / "release"
    if not folder.exists():
        shutil.copytree(played.run("first") / "release", folder)
        load_release(folder)
    (folder / SIGNATURE).write_bytes(blob)
    with pytest.raises((ReleaseError, SignatureError)):
        verify_signature(read_release(folder), pinned(played))
