"""Serving: refused where it would not be closed, and ended tidily."""

from __future__ import annotations

import json
import os
import signal
import socket
from pathlib import Path

import pytest

from client.cli import app as client
from client.enrolment.beginning import begin_site
from client.enrolment.folder import SiteFolder
from client.node.supernode import Node
from common import console
from common.identity.signing import SigningKey
from server.cli import app as server
from server.consortium.beginning import begin_consortium
from server.consortium.folder import Consortium
from server.consortium.settings import ConsortiumSettings
from server.hosting.bundle import FILE, read_bundle
from server.hosting.superlink import executor, superlink, write_secret
from tests.closed.place import Place, processes, wait_until


@pytest.fixture
def site(tmp_path: Path) -> SiteFolder:
    (tmp_path / "scans").mkdir()
    made = SiteFolder(tmp_path / "site" / "site.toml")
    begin_site(made, "hospital-a", tmp_path / "scans")
    return made


@pytest.fixture
def consortium(tmp_path: Path) -> Consortium:
    made = Consortium(tmp_path / "consortium")
    begin_consortium(made, ConsortiumSettings(name="net", hosts=("localhost",)))
    return made


def test_a_site_that_has_not_joined_serves_nobody(site: SiteFolder, capsys: pytest.CaptureFixture[str]) -> None:
    assert console.run(client, "gliofed-client", ["serve", "--site", str(site.toml)]) == 2
    assert "has not joined" in capsys.readouterr().err


def test_a_site_whose_policy_approves_everything_serves_nobody(
    site: SiteFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    site.toml.write_text(site.toml.read_text().replace("[policy]", "[policy]\napprove_everything = true"))
    assert console.run(client, "gliofed-client", ["serve", "--site", str(site.toml)]) == 5
    assert "for simulations alone" in capsys.readouterr().err


def test_what_the_programs_keep_is_for_their_own_user_alone(site: SiteFolder, consortium: Consortium) -> None:
    for app, words in (
        (client, ["serve", "--site", str(site.toml)]),
        (server, ["serve", str(consortium.folder / "none")]),
        (server, ["console", str(consortium.folder)]),
    ):
        before = os.umask(0o022)
        try:
            assert console.run(app, "gliofed", words) == 2
            assert os.umask(0o022) == 0o077, words
        finally:
            os.umask(before)


def test_a_second_serve_of_a_consortium_is_told_that_its_port_is_taken(
    consortium: Consortium, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        text = consortium.toml.read_text().replace("fleet_port = 9092", f"fleet_port = {port}")
        consortium.toml.write_text(text)
        assert console.run(server, "gliofed-server", ["serve", str(consortium.folder)]) == 2
    assert f"fleet_port ({port})" in capsys.readouterr().err


def test_a_bundle_is_signed_with_the_key_that_the_sites_trust_or_not_at_all(
    consortium: Consortium, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    elsewhere = tmp_path / "usb" / "signing.key"
    elsewhere.parent.mkdir()
    SigningKey.generate().save(elsewhere)
    words = ["bundle", str(consortium.folder), "--signing-key", str(elsewhere)]
    assert console.run(server, "gliofed-server", words) == 2
    assert "which the sites trust" in capsys.readouterr().err
    assert not (consortium.bundle / FILE).exists()
    elsewhere.unlink()
    consortium.signing_key.rename(elsewhere)
    assert console.run(server, "gliofed-server", [*words, "--json"]) == 0
    card = json.loads(capsys.readouterr().out)
    held, _ = read_bundle(consortium.bundle, SigningKey.load(elsewhere).public)
    assert card == held.model_dump()


def test_the_coordinators_programs_listen_on_the_loopback_address_alone(consortium: Consortium) -> None:
    words = superlink(consortium).command
    assert words[words.index("--host") + 1] == "127.0.0.1"
    assert {"--enable-supernode-auth", "--disable-runtime-dependency-installation"} <= set(words)
    assert words[words.index("--isolation") + 1] == "process"
    address = executor(consortium).command
    assert address[address.index("--runtime-api-address") + 1] == "127.0.0.1:9092"


def test_the_executors_secret_is_its_owners_alone_and_stays(consortium: Consortium) -> None:
    write_secret(consortium)
    before = consortium.superexec_secret.read_bytes()
    write_secret(consortium)
    assert consortium.superexec_secret.read_bytes() == before
    assert consortium.superexec_secret.stat().st_mode & 0o777 == 0o600


def test_a_sites_programs_trust_one_signer_and_speak_on_the_loopback_address(place: Place) -> None:
    site = place.sites["hospital-a"]
    words = Node(site, 4321).supernode().command
    options = dict(zip(words[4::2], words[5::2], strict=True))
    assert options["--superlink"] == f"localhost:{place.port}"
    assert (options["--host"], options["--isolation"]) == ("127.0.0.1", "process")
    assert json.loads(Path(options["--trusted-entities"]).read_text()) == {
        "gliofed-consortium": place.signing_key.public.openssh
    }
    assert Path(options["--superexec-auth-secret-file"]).stat().st_mode & 0o777 == 0o600
    assert options["--node-config"] == f'site="{site.toml}"'


def test_nowhere_runs_a_program_of_flowers_that_runs_tasks(place: Place) -> None:
    (site,) = place.sites.values()
    assert called_at(site.folder) == {"flower_supernode", "client.node.executor"}
    assert called_at(place.consortium.folder) == {"flower_superlink", "server.hosting.executor", "server.hosting.hub"}


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_what_is_killed_comes_back_even_while_the_server_still_counts_its_last_life(place: Place) -> None:
    site = place.sites["hospital-a"]
    before = (site.logs / "supernode.log").read_text().count("SuperNode ID")
    for folder, program in ((str(site.folder), "flower_supernode"), (str(place.consortium.folder), "flower_superlink")):
        (number,) = (n for n, words in processes() if folder in (line := " ".join(words)) and program in line)
        os.kill(number, signal.SIGKILL)
    log = site.logs / "supernode.log"
    wait_until(lambda: log.read_text().count("SuperNode ID") > before, "it is let in again", patience_s=200.0)


KINDS = (
    "flower_supernode",
    "flower_superlink",
    "flower_superexec",
    "flwr-serverapp",
    "flwr-clientapp",
    "flwr-agentapp",
)


def called_at(folder: Path) -> set[str]:
    """Return which programs of Flower's and which modules of ours run with a folder in their command line."""
    found = set()
    for _, words in processes():
        if str(folder) in " ".join(words):
            found |= {kind for kind in KINDS if kind in " ".join(words)}
            found |= {word for word in words if word.startswith(("client.node", "server.hosting"))}
    return found
