"""The way of a hospital into a consortium, by the documented commands alone."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from client.cli import app as client_app
from common import console
from server.cli import app as server_app
from server.consortium.alone import alone
from server.consortium.folder import Consortium
from tests.identity.conftest import Register

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def register(monkeypatch: pytest.MonkeyPatch) -> Register:
    made = Register()
    monkeypatch.setattr("server.consortium.registrar.FlowerRegistrar", lambda _: made)
    return made


@pytest.fixture
def run(tmp_path: Path, register: Register, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a line as it is documented; return exit status, output and errors."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "scans").mkdir()

    def run_line(line: str, typed: str = "") -> tuple[int, str, str]:
        program, *words = line.split()
        monkeypatch.setattr("sys.stdin", io.StringIO(typed))
        status = console.run({"gliofed-client": client_app, "gliofed-server": server_app}[program], program, words)
        shown = capsys.readouterr()
        return status, shown.out, shown.err

    return run_line


def fingerprint(run: Run, line: str) -> str:
    status, out, err = run(f"{line} --json")
    assert status == 0, err
    return str(json.loads(out)["fingerprint"])


def test_from_empty_folders_to_a_site_that_joined(run: Run, tmp_path: Path) -> None:
    signer = fingerprint(run, "gliofed-server init consortium --name glioma-net --host gliofed.example.org")
    site = fingerprint(run, "gliofed-client init site --name hospital-a --scans scans")
    status, out, _ = run("gliofed-server admit consortium site/request.json", typed=f"{site}\n")
    assert status == 0
    assert "hospital-a is admitted as node 101" in out
    status, out, _ = run(
        "gliofed-client join consortium/kits/hospital-a.zip --site site/site.toml", typed=f"{signer}\n"
    )
    assert status == 0
    assert signer in out
    assert "joined; on the roster: hospital-a" in out
    status, out, _ = run("gliofed-client status --site site/site.toml --json")
    facts = json.loads(out)
    assert (facts["consortium"], facts["address"], facts["fingerprint"]) == (
        "glioma-net", "gliofed.example.org:443", site
    )  # fmt: skip
    status, out, _ = run("gliofed-client status --site site/site.toml")
    assert "3653 days left" in out


def test_a_wrong_fingerprint_admits_and_installs_nothing(run: Run, tmp_path: Path) -> None:
    signer = fingerprint(run, "gliofed-server init consortium --name glioma-net --host gliofed.example.org")
    site = fingerprint(run, "gliofed-client init site --name hospital-a --scans scans")
    status, _, err = run("gliofed-server admit consortium site/request.json", typed=f"{signer}\n")
    assert (status, "nothing was admitted" in err) == (5, True)
    assert not (tmp_path / "consortium" / "roster.toml").exists()
    assert run(f"gliofed-server admit consortium site/request.json --fingerprint {site}")[0] == 0
    status, _, err = run("gliofed-client join consortium/kits/hospital-a.zip --site site/site.toml", typed=f"{site}\n")
    assert (status, "nothing was installed" in err) == (5, True)
    assert not (tmp_path / "site" / "kit").exists()


def test_a_newer_kit_of_the_same_signer_is_taken_without_a_question(run: Run) -> None:
    signer = fingerprint(run, "gliofed-server init consortium --name glioma-net --host gliofed.example.org")
    for name in ("a", "b"):
        site = fingerprint(run, f"gliofed-client init {name} --name {name} --scans scans")
        assert run(f"gliofed-server admit consortium {name}/request.json --fingerprint {site}")[0] == 0
        again = run(f"gliofed-client join consortium/kits/a.zip --site a/site.toml --fingerprint {signer}")
        assert again[0] == 0
    status, out, _ = run("gliofed-client join consortium/kits/a.zip --site a/site.toml")
    assert (status, "a, b" in out) == (0, True)


def test_a_consortium_without_its_signing_key_says_how_to_sign(run: Run, tmp_path: Path) -> None:
    line = "gliofed-server init consortium --name glioma-net --host gliofed.example.org --signing-key usb/signing.key"
    fingerprint(run, line)
    site = fingerprint(run, "gliofed-client init site --name hospital-a --scans scans")
    status, out, _ = run(f"gliofed-server admit consortium site/request.json --fingerprint {site}")
    assert status == 0
    assert "not signed yet, no kit written: gliofed-server sign" in out
    status, out, _ = run("gliofed-server sign consortium --signing-key usb/signing.key")
    assert (status, "hospital-a.zip" in out) == (0, True)


def test_a_site_is_revoked_and_comes_back_with_a_new_key(run: Run, register: Register) -> None:
    fingerprint(run, "gliofed-server init consortium --name glioma-net --host gliofed.example.org")
    site = fingerprint(run, "gliofed-client init site --name hospital-a --scans scans")
    run(f"gliofed-server admit consortium site/request.json --fingerprint {site}")
    assert run("gliofed-server revoke consortium hospital-a")[:2] == (
        0, "hospital-a is revoked; its key never comes back\n"
    )  # fmt: skip
    status, _, err = run(f"gliofed-server admit consortium site/request.json --fingerprint {site}")
    assert (status, "--new-key" in err) == (5, True)
    new = fingerprint(run, "gliofed-client request --site site/site.toml --new-key")
    assert run(f"gliofed-server admit consortium site/request.json --fingerprint {new}")[0] == 0
    assert (len(register.nodes), register.gone) == (2, {101})


def test_two_commands_never_change_the_roster_beside_each_other(run: Run, tmp_path: Path) -> None:
    fingerprint(run, "gliofed-server init consortium --name glioma-net --host gliofed.example.org")
    with alone(Consortium(tmp_path / "consortium")):
        status, _, err = run("gliofed-server revoke consortium hospital-a")
    assert (status, "another command" in err) == (2, True)
    assert "no admitted site" in run("gliofed-server revoke consortium hospital-a")[2]


def test_a_renewal_says_what_to_reload(run: Run) -> None:
    fingerprint(run, "gliofed-server init consortium --name glioma-net --host gliofed.example.org --host 192.0.2.7")
    status, out, _ = run("gliofed-server renew consortium")
    assert (status, "now `systemctl reload nginx`" in out) == (0, True)
    assert out.splitlines()[1] == "authority 3653 days left, server 397 days left, loopback 3653 days left"


def test_wrong_settings_are_all_named(run: Run) -> None:
    status, _, err = run("gliofed-server init consortium --name Glioma --host https://a --host b:1")
    assert status == 2
    assert ["name" in line or "hosts" in line for line in err.splitlines()] == [True, True]
