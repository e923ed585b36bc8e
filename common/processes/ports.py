"""Ports of the loopback address: which are free, and whether somebody listens."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Mapping

from common.errors import FederationError, StudyError
from common.processes.flower import LOOPBACK


def free_port() -> int:
    """Return a TCP port of the loopback address that nobody listens on."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        port: int = probe.getsockname()[1]
        return port


def listens(port: int) -> bool:
    """Say whether somebody listens on the port."""
    with socket.socket() as probe:
        probe.settimeout(5)
        return probe.connect_ex((LOOPBACK, port)) == 0


def refuse_taken(ports: Mapping[str, int]) -> None:
    """Raise StudyError where somebody listens on one of `ports`, by the name under which it is configured."""
    if taken := [f"{name} ({port})" for name, port in ports.items() if listens(port)]:
        raise StudyError(
            f"{LOOPBACK}: somebody listens already on {', '.join(taken)}; end what runs there, another `serve` "
            "perhaps, or configure other ports"
        )


def wait_for_port(port: int, patience_s: float = 60.0, go_on: Callable[[], bool] = lambda: True) -> None:
    """Wait until somebody listens, or until `go_on` says no. Raises FederationError where nobody does in time."""
    until = time.monotonic() + patience_s
    while time.monotonic() < until and go_on():
        if listens(port):
            return
        time.sleep(0.1)
    if go_on():
        raise FederationError(
            f"nobody listens on {LOOPBACK}:{port} after {patience_s:g} s; look into the program's log"
        )
