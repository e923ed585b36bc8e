"""A whole closed deployment on the loopback address, from empty folders by our own verbs and functions: nginx, the
coordinator's `serve`, and a `serve` at each of two sites."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

from client.enrolment.beginning import begin_site
from client.enrolment.folder import SiteFolder
from client.enrolment.joining import join
from common.identity.kit import open_kit
from common.identity.signing import SigningKey
from common.processes.flower import environment, flower_program
from common.processes.ports import free_port, listens
from common.processes.program import Program
from server.consortium.admission import admit, hear
from server.consortium.beginning import begin_consortium
from server.consortium.folder import Consortium
from server.consortium.registrar import FlowerRegistrar
from server.consortium.settings import ConsortiumSettings, Ports
from server.hosting.bundle import build_bundle, write_bundle
from server.hosting.nginx import configuration, make_folders
from server.hosting.submit import planned_run_config

HERE = Path(__file__).parent
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

    def __init__(self, folder: Path, sites: tuple[str, ...] = ("hospital-a", "hospital-b")) -> None:
        self.folder, self.port = folder, free_port()
        self.consortium = Consortium(folder / "consortium")
        self.sites = {name: SiteFolder(folder / name / "site.toml") for name in sites}
        self.nodes: dict[str, int] = {}
        self._names, self._stack = sites, ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self._begin()
            self.server = self._start(stack, "serve", verb("server", "serve", self.consortium.folder), PYTHONPATH=HERE)
            self._start_nginx(stack)
            wait_until(lambda: "SuperLink on" in self.server.log.read_text(), "the SuperLink listens")
            self._admit()
            self.serving = {
                name: self._start(stack, name, verb("client", "serve", "--site", site.toml))
                for name, site in self.sites.items()
            }
            wait_until(lambda: self.online() == set(self._names), "both sites are online")
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

    def _start(self, stack: ExitStack, name: str, command: list[str], **more: object) -> Program:
        given = QUICK | {key: str(value) for key, value in more.items()}
        whole = {**os.environ, **given}
        if "PYTHONPATH" in more:
            whole["PYTHONPATH"] = os.pathsep.join([os.environ.get("PYTHONPATH", ""), str(more["PYTHONPATH"])])
        program = Program(name, command, whole, self.folder, self.folder / "logs" / f"{name}.log")
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

    # ---- Flower's command line

    def flwr(self, *words: str) -> dict[str, Any]:
        """Call `flwr` as the coordinator does."""
        return flwr(self.consortium.flower, *words, cwd=self.consortium.folder)

    def online(self) -> set[str]:
        """Return the sites whose SuperNode the SuperLink has let in."""
        logs = {name: site.logs / "supernode.log" for name, site in self.sites.items()}
        return {name for name, log in logs.items() if log.is_file() and "SuperNode ID" in log.read_text()}

    def play(self, name: str, messages: list[dict[str, Any]], submit: Callable[[dict[str, str | bool]], object]) -> Any:
        """Submit a run of the messenger and return what came back for each message."""
        folder = self.consortium.run(name)
        folder.mkdir(parents=True)
        (folder / "messages.json").write_text(json.dumps(messages))
        submit(planned_run_config(name))
        wait_until((folder / "replies.json").is_file, f"run {name} is over")
        return json.loads((folder / "replies.json").read_text())

    def message(self, site: str, kind: str) -> dict[str, Any]:
        """Return a message for the messenger; what it asks is no question of ours."""
        return {"node": self.nodes[site], "kind": kind, "records": {"task": "{}"}}


def put_bundle(consortium: Consortium, key: SigningKey, sources: Mapping[str, bytes]) -> str:
    """Put a signed bundle of these sources, with the messenger as ServerApp, in place; return its digest."""
    return write_bundle(consortium.bundle, key, build_bundle(sources, "messenger:app")).sha256


def flwr(home: Path, *words: str, cwd: Path) -> dict[str, Any]:
    """Call `flwr` with a home; what it does not say in JSON is under `said`."""
    done = subprocess.run(
        [*flower_program("flwr"), *words, "--format", "json"],
        env=environment(home, QUICK),
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    begins = done.stdout.find("{")
    answer: dict[str, Any] = {} if begins < 0 else json.loads(done.stdout[begins:])
    return {"success": done.returncode == 0, "said": done.stdout + done.stderr} | answer
