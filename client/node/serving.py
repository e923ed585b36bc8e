"""Serving a site: its SuperNode and its executor, for as long as nobody ends it."""

from __future__ import annotations

import threading
from collections.abc import Callable

from client.enrolment.folder import SiteFolder
from client.monitoring.start import watched_if_possible
from client.node.supernode import Node
from common.errors import PolicyError
from common.files import make_folder
from common.processes.ports import free_port, wait_for_port
from common.processes.service import check_alive, keep_alive
from common.processes.supervisor import Supervisor

PAUSE_S = 10.0
"""How long a SuperNode stays down: the server counts a dead one as alive for up to a minute, and refuses it so long."""

GRACE_S = 15.0


class OpenDoorError(PolicyError):
    """The site's policy lets everything in; that is for simulations."""

    code = "open-door"


def serve(site: SiteFolder, over: threading.Event, on_ready: Callable[[], None]) -> None:
    """Serve until `over` is set, then take leave of the server and end both programs.

    Args:
        on_ready: called once both programs were started; the server need not be there.
    Raises:
        StudyError: where the site has not joined.
        OpenDoorError: where its policy approves everything.
        FederationError: where a program cannot be kept alive.
    """
    if site.config.policy.approve_everything:
        raise OpenDoorError(
            f"{site.toml}: policy.approve_everything is for simulations alone; remove the line, and approve each plan "
            "by `gliofed-client approve`"
        )
    make_folder(site.flower)
    port = free_port()
    node = Node(site, port)
    node.prepare()
    with (
        Supervisor(pause_s=PAUSE_S, grace_s=GRACE_S) as supervisor,
        watched_if_possible(site, lambda: supervisor.all_alive),
    ):
        supervisor.take(node.supernode())

        def lives() -> bool:
            check_alive(supervisor)
            return not over.is_set()

        wait_for_port(port, go_on=lives)
        supervisor.take(node.executor())
        on_ready()
        keep_alive(supervisor, over)
