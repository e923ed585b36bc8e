"""A whole closed deployment on the loopback address, from empty folders by our own verbs and functions: nginx, the
coordinator's `serve`, and a `serve` at a site."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Self

from client.enrolment.beginning import begin_site
from client.enrolment.folder import SiteFolder
from client.enrolment.joining import join
from common.identity.kit import open_kit
from common.identity.signing import SigningKey
from common.processes.ports import free_port, listens
from common.processes.program import Program
from server.consortium.admission import admit, hear
from server.consortium.beginning import begin_consortium
from server.consortium.folder import Consortium
from server.consortium.registrar import FlowerRegistrar
from server.consortium.settings import ConsortiumSettings, Ports
from server.hosting.bundle import build_bundle, read_card, write_bundle
from server.hosting.hub import APP_ID
from server.hosting.nginx import configuration, make_folders
from tests.closed.control import Control
from tests.closed.rogue import exchange

QUICK = {"OMP_NUM_THREADS": "1"}
PATIENCE_S = 120.0
NGINX = "/usr/sbin/nginx"


def verb(program: str, *words: object) -> list[str]:
    """Return the command line of one of our programs, from this source."""
    return [sys.executable, "-P", "-c", f"from {program}.cli import main; main()", *map(str, words)]


def wait_until(holds: Callable[[], Any], what: str, patience_s: float = PATIENCE_S) -> Any:
    """Wait until something holds and return it."""
    until = time.monotonic() + patience_s
    while not (found := holds()):
        assert time.monotonic() < until, f"not within {patience_s:g} s: {what}"
        time.sleep(0.1)
    return found


class Place:
    """The deployment. Within its `with` everything runs; afterwards nothing does."""

    def __init__(self, folder: Path, sites: tuple[str, ...] = ("hospital-a",)) -> None:
        self.folder, self.port = folder, free_port()
        self.consortium = Consortium(folder / "consortium")
        self.sites = {name: SiteFolder(folder / name / "site.toml") for name in sites}
        self.nodes: dict[str, int] = {}
        self._names, self._stack = sites, ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self._begin()
            self.server = self._start(stack, "serve", verb("server", "serve", self.consortium.folder))
            self._start_nginx(stack)
            wait_until(lambda: "SuperLink on" in self.server.log.read_text(), "the SuperLink listens")
            self._admit()
            self.serving = {
                name: self._start(stack, name, verb("client", "serve", "--site", site.toml))
                for name, site in self.sites.items()
            }
            wait_until(lambda: self.online() == set(self._names), "the sites are online")
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        for program in (*self.serving.values(), self.nginx, self.server):  # all at once, then each is waited for
            os.kill(program.pid, signal.SIGTERM)
        self._stack.close()

    def _begin(self) -> None:
        ports = Ports(hub=free_port(), metrics=free_port(), health=free_port(), console=free_port(), mlflow=free_port())
        hosts = ("localhost", "127.0.0.1")
        settings = ConsortiumSettings(name="net", hosts=hosts, port=self.port, fleet_port=free_port(), ports=ports)
        begin_consortium(self.consortium, settings)
        write_bundle(self.consortium.bundle, self.signing_key)
        for name, site in self.sites.items():
            scans = self.folder / "scans" / name
            scans.mkdir(parents=True)
            begin_site(site, name, scans)
            ports = f"metrics_port = {free_port()}\nhealth_port = {free_port()}\nheartbeat_s = 1.0\n"
            site.toml.write_text(f"{site.toml.read_text()}\n[monitoring]\n{ports}")
            self.sites[name] = SiteFolder(site.toml)  # as it reads now

    @property
    def signing_key(self) -> SigningKey:
        """The consortium's."""
        return SigningKey.load(self.consortium.signing_key)

    def _start(self, stack: ExitStack, name: str, command: list[str]) -> Program:
        program = Program(name, command, {**os.environ, **QUICK}, self.folder, self.folder / "logs" / f"{name}.log")
        program.start()
        stack.callback(program.end, grace_s=30.0)
        return program

    def _start_nginx(self, stack: ExitStack) -> None:
        path = self.folder / "nginx.conf"
        path.write_text(configuration(self.consortium, alone=True))
        make_folders(self.consortium)
        self.nginx = self._start(stack, "nginx", [NGINX, "-c", str(path)])
        wait_until(lambda: listens(self.port), "nginx listens")

    def _admit(self) -> None:
        registrar = FlowerRegistrar(self.consortium)
        for name, site in self.sites.items():
            applicant = hear(self.consortium, site.request.read_bytes(), name)
            self.nodes[name] = admit(self.consortium, applicant, registrar, self.signing_key).node
        for name, site in self.sites.items():
            join(site, open_kit(self.consortium.kit(name).read_bytes(), name))

    def control(self) -> Control:
        """Return a connection to the Control API, as whoever has a shell on the coordinator's machine has it."""
        return Control(f"127.0.0.1:{self.consortium.settings.fleet_port}", self.consortium.ca)

    def submit(self, settings: Mapping[str, str | bool]) -> int:
        """Submit a run of the consortium's bundle, from its hub and with its signature; return its number."""
        with self.control() as control:
            return control.submit(settings, app=f"{APP_ID}=={read_card(self.consortium.bundle).version}")

    @contextmanager
    def unguarded(self) -> Iterator[None]:
        """Let the coordinator's executor stand still: what is submitted meanwhile is the test's to take."""
        number = process_of("server.hosting.executor", str(self.consortium.ca))
        os.kill(number, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(number, signal.SIGCONT)

    def online(self) -> set[str]:
        """Return the sites whose SuperNode the SuperLink has let in."""
        logs = {name: site.logs / "supernode.log" for name, site in self.sites.items()}
        return {name for name, log in logs.items() if log.is_file() and "SuperNode ID" in log.read_text()}

    def play(self, messages: list[dict[str, Any]], submit: Callable[[], int]) -> list[dict[str, Any]]:
        """Send messages in a run, as a coordinator does who is against the sites; return what came back for each."""
        with self.unguarded():
            submit()
            return exchange(self.consortium, messages)

    def message(self, site: str, kind: str) -> dict[str, Any]:
        """Return a message to a site; what it asks is no question of ours."""
        return {"node": self.nodes[site], "kind": kind, "records": {"task": "{}"}}


def put_bundle(consortium: Consortium, key: SigningKey, sources: Mapping[str, bytes] | None = None) -> str:
    """Put a signed bundle in place, of other sources than the installed where some are given; return its digest."""
    return write_bundle(consortium.bundle, key, build_bundle(sources)).sha256


def processes() -> list[tuple[int, list[str]]]:
    """Return number and words of the command line of every process."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            with contextlib.suppress(OSError):  # it ended while we looked
                found.append((int(entry.name), (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")))
    return found


def process_of(*words: str) -> int:
    """Return the number of the one process that was called with these words; the deployment has started it."""
    (found,) = [number for number, called in processes() if set(words) <= set(called)]
    return found
