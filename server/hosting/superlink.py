"""The coordinator's two long-running programs of Flower's: the SuperLink, and the executor that starts a guard a run.

Both listen and speak on the loopback address alone, for Flower's Control API asks nobody who he is: what sites reach is
nginx, which lets nothing but the Fleet API through. TLS is between them all the same: without it the SuperLink takes no
authenticated node.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping

from common.files import PRIVATE, write_whole
from common.processes.flower import LOOPBACK, environment, flower_program, own_module
from common.processes.program import Program
from server.consortium.folder import Consortium
from server.hosting.hub import hub_address

SECRET_BYTES = 32


def superlink(consortium: Consortium) -> Program:
    """Return the SuperLink: nodes authenticated, state in a database that survives it, apps in other processes."""
    options = {
        "--host": LOOPBACK,
        "--port": str(consortium.settings.fleet_port),
        "--isolation": "process",
        "--ssl-ca-certfile": str(consortium.ca),
        "--ssl-certfile": str(consortium.loopback_certificate),
        "--ssl-keyfile": str(consortium.loopback_key),
        "--database": str(consortium.superlink_database),
        "--superexec-auth-secret-file": str(consortium.superexec_secret),
    }
    switches = ("--enable-supernode-auth", "--disable-runtime-dependency-installation")
    return _program(consortium, "superlink", flower_program("flower-superlink"), options, *switches)


def executor(consortium: Consortium) -> Program:
    """Return the executor. It works in the consortium's folder, from where a run configuration's paths are read."""
    options = {
        "--runtime-api-address": f"{LOOPBACK}:{consortium.settings.fleet_port}",
        "--root-certificates": str(consortium.ca),
        "--secret-file": str(consortium.superexec_secret),
    }
    return _program(consortium, "executor", own_module("server.hosting.executor"), options)


def write_secret(consortium: Consortium) -> None:
    """Write what the executor shows the SuperLink, where there is none yet."""
    if not consortium.superexec_secret.is_file():
        write_whole(consortium.superexec_secret, secrets.token_bytes(SECRET_BYTES), PRIVATE)


def flower_environment(consortium: Consortium) -> dict[str, str]:
    """Return the environment of Flower's programs here: a bundle comes from our hub, never from Flower's."""
    own = {"FLWR_SUPERGRID_API_URL": hub_address(consortium), "FLWR_SUPEREXEC_TASK_POLL_INTERVAL": "0.5"}
    return environment(consortium.flower, own)


def _program(
    consortium: Consortium, name: str, start: list[str], options: Mapping[str, str], *switches: str
) -> Program:
    command = [*start, *(part for option in options.items() for part in option), *switches]
    log = consortium.logs / f"{name}.log"
    return Program(name, command, flower_environment(consortium), consortium.folder, log)
