"""What a running SuperLink makes of admissions: a SuperNode connects through a proxy, and is shut out for good."""

from __future__ import annotations

import os
import secrets
import socket
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from client.enrolment.beginning import ask
from client.enrolment.connection import connection_environment, root_certificates
from client.enrolment.folder import SiteFolder
from client.enrolment.joining import join
from common.errors import PolicyError
from common.processes.program import Program
from common.processes.supervisor import Supervisor
from server.consortium.admission import admit, hear, revoke
from server.consortium.beginning import begin_consortium
from server.consortium.folder import Consortium
from server.consortium.registrar import QUIET, FlowerRegistrar
from server.consortium.sealing import admitted, change_roster
from server.consortium.settings import ConsortiumSettings
from tests.identity.conftest import HOST, Register, World
from tests.identity.proxies import Proxy

pytestmark = pytest.mark.slow
PROGRAMS = Path(sys.executable).parent


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


def wait_until(true: Callable[[], bool], what: str, patience_s: float = 45) -> None:
    until = time.monotonic() + patience_s
    while not true():
        assert time.monotonic() < until, what
        time.sleep(0.2)


def answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


class Flower:
    """A consortium whose SuperLink runs; it shows sites the server's certificate, as nginx would."""

    def __init__(self, folder: Path) -> None:
        self.place = Consortium(folder / "consortium")
        settings = ConsortiumSettings(name="glioma-net", hosts=(HOST, "127.0.0.1"), fleet_port=free_port())
        begin_consortium(self.place, settings)
        self.world = World(folder, self.place, Register())
        self.registrar = FlowerRegistrar(self.place)
        self.port = settings.fleet_port
        self.processes = Supervisor()

    def start(self) -> None:
        self.place.superexec_secret.write_bytes(secrets.token_bytes(32))
        files = {"ca-cert": self.place.ca, "cert": self.place.server_certificate, "key": self.place.server_key}
        tls = [part for name, file in files.items() for part in (f"--ssl-{name}file", str(file))]
        more = ["--host", "127.0.0.1", "--port", str(self.port), "--isolation", "process", "--enable-supernode-auth"]
        more += ["--disable-runtime-dependency-installation", "--database", str(self.place.superlink_database)]
        more += ["--superexec-auth-secret-file", str(self.place.superexec_secret)]
        self.run("superlink", ["flower-superlink", *tls, *more], {"FLWR_HOME": str(self.place.flower)})
        wait_until(lambda: answers(self.port), "the SuperLink listens")

    def run(self, name: str, command: list[str], environment: dict[str, str]) -> Program:
        path = f"{PROGRAMS}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
        settings = {**os.environ, **QUIET, "PATH": path, "PYTHONUNBUFFERED": "1", **environment}
        log = self.world.folder / f"{name}.log"
        program = Program(name, [str(PROGRAMS / command[0]), *command[1:]], settings, self.world.folder, log)
        return self.processes.take(program)

    def admit(self, name: str, replace_key: bool = False) -> int:
        applicant = hear(self.place, self.world.site(name).request.read_bytes(), "request.json", replace_key)
        return admit(self.place, applicant, self.registrar, self.world.key).node

    def status(self, node: int) -> str:
        listed = self.registrar._flwr("list", "glioma-net")["nodes"]
        return next(entry["status"] for entry in listed if int(entry["node-id"]) == node)


@pytest.fixture
def flower(tmp_path: Path) -> Iterator[Flower]:
    made = Flower(tmp_path)
    with made.processes:
        made.start()
        yield made


def supernode(site: SiteFolder) -> tuple[list[str], dict[str, str]]:
    command = ["flower-supernode", "--superlink", f"{HOST}:443", "--root-certificates", str(root_certificates(site))]
    command += ["--auth-supernode-private-key", str(site.key), "--host", "127.0.0.1", "--port", str(free_port())]
    return command, connection_environment(site.config) | {"FLWR_HOME": str(site.flower)}


def test_a_site_behind_a_proxy_with_a_password_is_admitted_connects_and_is_shut_out(flower: Flower) -> None:
    node = flower.admit("hospital-a")
    site = flower.world.site("hospital-a")
    join(site, flower.world.kit("hospital-a"))
    with Proxy(to=flower.port, login="user:s3cret word") as proxy:
        line = f'proxy = "http://user:s3cret%20word@127.0.0.1:{proxy.port}"\n'
        site.toml.write_text(site.toml.read_text() + line)
        command, environment = supernode(SiteFolder(site.toml))
        log = flower.run("supernode", command, environment).log
        wait_until(lambda: flower.status(node) == "online", "the SuperNode is online")
        assert set(proxy.seen) == {f"CONNECT {HOST}:443 HTTP/1.1"}
        revoke(flower.place, "hospital-a", flower.registrar, flower.world.key)
        assert flower.status(node) == "unregistered"
        wait_until(
            lambda: "Failed to activate SuperNode" in log.read_text(), "the SuperNode ended, and comes in no more"
        )
        assert "s3cret" not in log.read_text()
        with pytest.raises(PolicyError, match="never comes back"):
            flower.admit("hospital-a")
        ask(site, new_key=True)
        assert flower.admit("hospital-a") != node


def test_a_broken_off_admission_is_found_again_and_flower_lets_no_key_back(flower: Flower) -> None:
    flower.admit("hospital-a")
    node = flower.admit("hospital-b")
    roster = admitted(flower.place)
    assert roster is not None
    left = {"hospital-a": roster.sites["hospital-a"]}
    change_roster(flower.place, type(roster)(sites=left))
    assert flower.admit("hospital-b") == node
    ask(flower.world.site("hospital-b"), new_key=True)
    assert flower.admit("hospital-b", replace_key=True) != node
    assert flower.status(node) == "unregistered"
