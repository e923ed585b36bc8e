"""Starts again what has died, as systemd or a container runtime would: after a pause, for as long as it takes."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable
from contextlib import contextmanager
from typing import TYPE_CHECKING

from common.processes.program import Program

if TYPE_CHECKING:
    from collections.abc import Iterator

LOOK_EVERY_S = 0.25


class Supervisor:
    """Watches programs from a thread of its own.

    A SuperNode that comes back while its old lease runs is refused with exit status 305; the pause before the next try
    is what brings it back. One that met a TLS error gives up while its process lives: its log tells, and it is ended.

    Args:
        pause_s: how long a dead program stays down before it is started again.
    """

    def __init__(self, pause_s: float = 3.0) -> None:
        self._pause_s = pause_s
        self._programs: list[Program] = []
        self._held: set[str] = set()
        self._down_since: dict[str, float] = {}
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="supervisor", daemon=True)
        self.restarts: dict[str, int] = {}

    def __enter__(self) -> Supervisor:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        with self._lock:
            for program in reversed(self._programs):
                program.end()

    def take(self, program: Program) -> Program:
        """Start `program` and watch it from now on."""
        with self._lock:
            program.start()
            self._programs.append(program)
        return program

    def kill(self, program: Program) -> None:
        """Kill the program; it is started again after the pause unless it is held down."""
        with self._lock:
            program.kill()

    @contextmanager
    def held_down(self, programs: Iterable[Program]) -> Iterator[None]:
        """Kill `programs` with all that they started, and leave them down until the block ends."""
        names = [program.name for program in programs]
        with self._lock:
            self._held.update(names)
            for program in self._programs:
                if program.name in names:
                    program.end()
        try:
            yield
        finally:
            with self._lock:
                self._held.difference_update(names)

    def _watch(self) -> None:
        while not self._over.wait(LOOK_EVERY_S):
            with self._lock:
                for program in self._programs:
                    self._look_at(program)

    def _look_at(self, program: Program) -> None:
        if program.alive and program.given_up:
            program.end()
        if program.alive or program.name in self._held:
            self._down_since.pop(program.name, None)
            return
        since = self._down_since.setdefault(program.name, time.monotonic())
        if time.monotonic() - since >= self._pause_s:
            program.start()
            self.restarts[program.name] = self.restarts.get(program.name, 0) + 1
