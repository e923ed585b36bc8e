"""A service: programs that are kept alive until somebody ends the service, or until one cannot be kept alive."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from common.errors import FederationError
from common.processes.supervisor import Supervisor

LOOK_EVERY_S = 0.5
TRIES = 5
"""How often in a row a program may die soon after its start."""


@contextmanager
def ended_by_signal() -> Iterator[threading.Event]:
    """Yield what is set once somebody asks this process to end, by SIGTERM or by Ctrl-C."""
    asked = threading.Event()

    def note(number: int, frame: FrameType | None) -> None:
        asked.set()

    before = {number: signal.signal(number, note) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def check_alive(supervisor: Supervisor) -> None:
    """Raise FederationError where a program cannot be kept alive."""
    if failing := supervisor.failing(TRIES):
        said = "; ".join(f"{program.name} (see {program.log})" for program in failing)
        raise FederationError(f"died {TRIES} times in a row soon after the start: {said}; mend it and serve again")


def keep_alive(supervisor: Supervisor, over: threading.Event) -> None:
    """Wait until `over` is set. Raises FederationError where a program cannot be kept alive."""
    while not over.wait(LOOK_EVERY_S):
        check_alive(supervisor)
