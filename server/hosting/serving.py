"""Serving a consortium: hub, SuperLink and executor on the loopback address, for as long as nobody ends it."""

from __future__ import annotations

import threading
from collections.abc import Callable

from common.errors import GliofedError
from common.identity.signing import VerifyKey
from common.logs import logger
from common.processes.ports import refuse_taken, wait_for_port
from common.processes.service import check_alive, keep_alive
from common.processes.supervisor import Supervisor
from server.consortium.beginning import write_connection
from server.consortium.folder import Consortium
from server.facts.fleet import superlink_fleet
from server.hosting.bundle import read_bundle
from server.hosting.hub import hub
from server.hosting.superlink import executor, superlink, write_secret
from server.monitoring.start import start_monitoring

log = logger(__name__)

GRACE_S = 15.0


def serve(consortium: Consortium, over: threading.Event, on_ready: Callable[[], None]) -> None:
    """Serve until `over` is set, then end every program tidily.

    Args:
        on_ready: called once the SuperLink listens and all programs run.
    Raises:
        StudyError: where a port is taken.
        FederationError: where a program cannot be kept alive.
    """
    settings = consortium.settings
    ports = {f"ports.{name}": getattr(settings.ports, name) for name in ("hub", "metrics", "health")}
    refuse_taken({"fleet_port": settings.fleet_port, **ports})
    write_secret(consortium)
    write_connection(consortium, settings)
    _look_at_bundle(consortium)
    with Supervisor(grace_s=GRACE_S) as supervisor:
        supervisor.take(hub(consortium))
        supervisor.take(superlink(consortium))

        def lives() -> bool:
            check_alive(supervisor)
            return not over.is_set()

        wait_for_port(settings.fleet_port, go_on=lives)
        supervisor.take(executor(consortium))
        with start_monitoring(consortium, superlink_fleet(consortium), lambda: supervisor.all_alive):
            on_ready()
            keep_alive(supervisor, over)


def _look_at_bundle(consortium: Consortium) -> None:
    """Log where there is no bundle that could be run; sites can be admitted without one."""
    try:
        read_bundle(consortium.bundle, VerifyKey.load(consortium.signing_pub))
    except GliofedError as error:
        log.warning("no run can begin: %s", error)
