"""A site's two long-running programs: Flower's SuperNode, which speaks with the server, and the executor beside it.

The SuperNode takes no code that the consortium's pinned key has not signed, and hands its tasks to nobody who does not
know a secret of this start. Both listen on the loopback address alone; the one connection outwards is the SuperNode's.
"""

from __future__ import annotations

import json
import secrets

from client.enrolment.connection import connection_environment, root_certificates
from client.enrolment.folder import SiteFolder
from client.enrolment.joining import require_joined
from common.files import PRIVATE, write_whole
from common.identity.bundle_signature import trusted_entities
from common.identity.signing import VerifyKey
from common.processes.flower import LOOPBACK, environment, flower_program, own_module
from common.processes.program import Program

SITE_KEY = "site"
GIVEN_UP = "SSL/TLS handshake error detected"
"""What a SuperNode logs when it stops trying for good, its process alive."""

REFUSED = "Exit Code: 305"
"""How a SuperNode ends whose server is away, or still counts its last life: up to a minute, then it is let in."""

SECRET_BYTES = 32


class Node:
    """The programs of a site that has joined, for one start.

    Args:
        port: of the loopback address, for the SuperNode and the executor between themselves.

    Raises:
        StudyError: where the site has not joined.
    """

    def __init__(self, site: SiteFolder, port: int) -> None:
        self._site, self._port = site, port
        self._address = require_joined(site).address
        self._trusted, self._secret = site.flower / "trusted.yaml", site.flower / "executor.secret"

    def prepare(self) -> None:
        """Write what the two programs read when they start."""
        write_whole(self._trusted, trusted_entities(VerifyKey.load(self._site.signing_pub)))
        write_whole(self._secret, secrets.token_bytes(SECRET_BYTES), PRIVATE)

    def supernode(self) -> Program:
        """Return the SuperNode."""
        options = {
            "--superlink": self._address,
            "--root-certificates": str(root_certificates(self._site)),
            "--auth-supernode-private-key": str(self._site.key),
            "--trusted-entities": str(self._trusted),
            "--isolation": "process",
            "--superexec-auth-secret-file": str(self._secret),
            "--host": LOOPBACK,
            "--port": str(self._port),
            "--node-config": f"{SITE_KEY}={json.dumps(str(self._site.toml))}",
        }
        command = [*flower_program("flower-supernode"), *(part for option in options.items() for part in option)]
        return self._program("supernode", command, connection_environment(self._site.config))

    def executor(self) -> Program:
        """Return the executor."""
        options = ["--runtime-api-address", f"{LOOPBACK}:{self._port}", "--secret-file", str(self._secret)]
        return self._program("executor", [*own_module("client.node.executor"), *options], {})

    def _program(self, name: str, command: list[str], more: dict[str, str]) -> Program:
        poll = {"FLWR_SUPEREXEC_TASK_POLL_INTERVAL": "0.5"}
        home, log = self._site.flower, self._site.logs / f"{name}.log"
        return Program(name, command, environment(home, poll | more), home, log, last_words=GIVEN_UP, excuse=REFUSED)
