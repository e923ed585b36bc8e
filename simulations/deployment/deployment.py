"""SuperLink, superexec and a SuperNode a site on the loopback address: TLS, authenticated nodes, a database.

What is submitted is the checkout, unsigned, so Flower's own superexec and SuperNode run it: before neither is a guard.
"""

from __future__ import annotations

import json
import secrets
import subprocess
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

from client.answers.site_file import SITE_KEY
from client.node.supernode import GIVEN_UP
from common.errors import FederationError
from common.files import write_whole
from common.identity.site_key import create_site_key
from common.processes.flower import environment, flower_program
from common.processes.ports import free_port, wait_for_port
from common.processes.program import Process, Program
from common.processes.supervisor import Supervisor
from simulations.deployment.authority import HOST, Authority
from simulations.deployment.link import Link
from simulations.environment import SETTINGS
from simulations.roster import Seat, write_rosters

CONNECTION = "loopback"
PROJECT = Path(__file__).resolve().parents[2]
ENVIRONMENT = SETTINGS | {
    "FLWR_SUPEREXEC_TASK_POLL_INTERVAL": "0.1",
    "OMP_NUM_THREADS": "1",  # the order of sums, and so the bytes, must be those of the engines in process
}


class Deployment:
    """A federation of real Flower processes; within its `with` they run, afterwards none of them does.

    Args:
        folder: takes keys, certificates, the database, Flower's homes and the logs.
        sites: site → its `site.toml`.
        project: folder of the Flower app, as `flwr run` takes it.

    Attributes:
        nodes: site → the number under which its key is registered.
        roster: file of the roster that says so.
        links: site → the TCP link between its SuperNode and the SuperLink; it is perfect until it is made worse.
    """

    def __init__(self, folder: Path, sites: Mapping[str, Path], project: Path = PROJECT) -> None:
        self.folder, self.project = folder.resolve(), project
        self.authority = Authority(self.folder / "tls")
        self.port = free_port()
        self.supervisor = Supervisor()
        self.nodes: dict[str, int] = {}
        self.links = {site: Link((HOST, self.port)) for site in sorted(sites)}
        self._sites = dict(sites)
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    # ---- its programs

    def _start(self) -> None:
        self.authority.issue()
        write_whole(self._secret, secrets.token_bytes(32))
        self._write_connection()
        self._stack.enter_context(self.supervisor)
        self.superlink = self.supervisor.take(self._superlink())
        wait_for_port(self.port)
        self.superexec = self.supervisor.take(self._superexec())
        with ThreadPoolExecutor(len(self._sites)) as pool:
            numbers = pool.map(self._register, self._sites)
            self.nodes = dict(zip(self._sites, numbers, strict=True))
        self.roster = write_rosters(
            self.folder, {site: Seat(self._sites[site], self.nodes[site]) for site in self.nodes}
        )
        for link in self.links.values():
            self._stack.enter_context(link)
        self.supernodes = {site: self.supervisor.take(self._supernode(site)) for site in self._sites}

    @property
    def _secret(self) -> Path:
        return self.folder / "superexec.secret"

    def _write_connection(self) -> None:
        lines = [f"[superlink.{CONNECTION}]", f'address = "{HOST}:{self.port}"']
        lines.append(f"root-certificates = {json.dumps(str(self.authority.root))}")
        write_whole(self._home("coordinator") / "config.toml", ("\n".join(lines) + "\n").encode())

    def _superlink(self) -> Program:
        options = {
            "--host": HOST,
            "--port": str(self.port),
            "--isolation": "process",
            "--ssl-ca-certfile": str(self.authority.root),
            "--ssl-certfile": str(self.authority.certificate),
            "--ssl-keyfile": str(self.authority.key),
            "--database": str(self.folder / "superlink.db"),
            "--superexec-auth-secret-file": str(self._secret),
        }
        switches = ("--enable-supernode-auth", "--disable-runtime-dependency-installation")
        return self._program("superlink", "coordinator", "flower-superlink", options, *switches)

    def _superexec(self) -> Program:
        options = {
            "--runtime-api-address": f"{HOST}:{self.port}",
            "--root-certificates": str(self.authority.root),
            "--superexec-auth-secret-file": str(self._secret),
        }
        return self._program("superexec", "coordinator", "flower-superexec", options)

    def _supernode(self, site: str) -> Program:
        options = {
            "--superlink": f"{HOST}:{self.links[site].port}",
            "--root-certificates": str(self.authority.root),
            "--auth-supernode-private-key": str(self._node_key(site)),
            "--host": HOST,
            "--port": str(free_port()),
            "--node-config": f"{SITE_KEY}={json.dumps(str(self._sites[site].resolve()))}",
        }
        return self._program(f"supernode-{site}", site, "flower-supernode", options, last_words=GIVEN_UP)

    def _program(
        self, name: str, party: str, program: str, options: Mapping[str, str], *switches: str, last_words: str = ""
    ) -> Program:
        command = [*flower_program(program), *(part for option in options.items() for part in option), *switches]
        log = self.folder / "logs" / f"{name}.log"
        return Program(name, command, self._environment(party), self.folder, log, last_words)

    def server_apps(self) -> list[Process]:
        """Return the ServerApp processes that run."""
        return self.superexec.descendants("flwr-serverapp")

    def client_apps(self, site: str) -> list[Process]:
        """Return the ClientApp processes that run at a site."""
        return self.supernodes[site].descendants("flwr-clientapp")

    def renew_certificate(self) -> None:
        """Issue a certificate that is valid for a day, and restart the SuperLink, which reads it when it starts."""
        self.authority.issue()
        self.supervisor.kill(self.superlink)

    # ---- Flower's command line, as the coordinator has it

    def submit(self, settings: Mapping[str, bool | str]) -> int:
        """Hand the app to the SuperLink with a run configuration; return the number of Flower's run."""
        pairs = " ".join(f"{key}={json.dumps(value)}" for key, value in settings.items())
        return int(self.flwr("run", str(self.project), CONNECTION, "--run-config", pairs)["run-id"])

    def status(self, run: int) -> str:
        """Return what Flower says of a run: `starting`, `running`, `finished:completed`, `finished:failed`, …"""
        return str(self.flwr("ls", CONNECTION, "--run-id", str(run))["runs"][0]["status"])

    def flwr(self, *arguments: str) -> dict[str, Any]:
        """Call `flwr` at the coordinator and return what it prints as JSON. Raises FederationError where it fails."""
        done = subprocess.run(
            [*flower_program("flwr"), *arguments, "--format", "json"],
            env=self._environment("coordinator"),
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        begins = done.stdout.find("{")
        answer: dict[str, Any] = {} if begins < 0 else json.loads(done.stdout[begins:])
        if done.returncode or not answer.get("success", True) or not answer:
            said = (done.stdout + done.stderr).strip()[-400:]
            raise FederationError(f"flwr {' '.join(arguments[:2])} failed: {said or 'it says nothing'}")
        return answer

    def _register(self, site: str) -> int:
        key = self._node_key(site)
        create_site_key(key)
        return int(
            self.flwr("supernode", "register", str(key.with_suffix(".pub")), CONNECTION, "--name", site)["node-id"]
        )

    def _node_key(self, site: str) -> Path:
        return self.folder / "keys" / site

    def _home(self, party: str) -> Path:
        return self.folder / "flower" / party

    def _environment(self, party: str) -> dict[str, str]:
        return environment(self._home(party), ENVIRONMENT)
