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
        grace_s: how long a program may take to end by itself when all is over, before it is killed.
        settles_s: a program that dies sooner after its start, without an excuse, has failed once more.

    Attributes:
        restarts: program → how often it was started again.
    """

    def __init__(self, pause_s: float = 3.0, grace_s: float = 0.0, settles_s: float = 30.0) -> None:
        self._pause_s, self._grace_s, self._settles_s = pause_s, grace_s, settles_s
        self._failures: dict[str, int] = {}
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
                program.end(grace_s=self._grace_s)

    @property
    def all_alive(self) -> bool:
        """Whether every program that was taken runs; none is not all. It answers at once."""
        return bool(self._programs) and all(program.alive for program in tuple(self._programs))

    def failing(self, tries: int) -> list[Program]:
        """Return the programs that have died soon after their start `tries` times in a row."""
        with self._lock:
            return [program for program in self._programs if self._failures.get(program.name, 0) >= tries]

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
        program.cut_log()
        if program.alive and program.given_up:
            program.end()
        if program.alive or program.name in self._held:
            self._down_since.pop(program.name, None)
            return
        now = time.monotonic()
        if program.name not in self._down_since:
            self._down_since[program.name] = now
            self._count(program, now - program.began_s)
        if now - self._down_since[program.name] >= self._pause_s:
            program.start()
            del self._down_since[program.name]
            self.restarts[program.name] = self.restarts.get(program.name, 0) + 1

    def _count(self, program: Program, lived_s: float) -> None:
        """Note a death: it counts where the program never settled and does not say why."""
        failed = lived_s < self._settles_s and not (program.excused or program.given_up)
        self._failures[program.name] = self._failures.get(program.name, 0) + 1 if failed else 0
