"""Crash points: every moment at which a file, a database or a message passes from one state to the next.

Nothing in the platform knows of them. Within a process of its own the calls that change what a disk holds are replaced
by ones that count, and at the chosen count the process kills itself, before or after the call. Two points between which
nothing on the watched disks has changed are one: the process that comes after cannot tell them apart.

What this does not show: SIGKILL leaves what the kernel holds in its cache, a power cut does not. That what counts is
flushed first is for the eye (`common.files`, the journal's `synchronous = FULL`).
"""

from __future__ import annotations

import os
import signal
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from simulations.grid import InProcessGrid

CALLS = ("fsync", "replace", "rename", "unlink", "remove", "rmdir", "link")
"""What of `os` changes what the next process finds."""

UPLOADS = ("push_messages", "pull_messages")


class Boundaries:
    """Counts the crash points of this process, and kills it at one of them.

    Args:
        watched: folders whose state decides whether two points differ.
        strike_at: number of the point, from 1, at which to kill; None to count alone.
        on_point: hears the name of each point.
    """

    def __init__(
        self,
        watched: Iterable[Path],
        strike_at: int | None = None,
        on_point: Callable[[str], None] = lambda name: None,
    ) -> None:
        self._watched, self._strike_at, self._on_point = tuple(watched), strike_at, on_point
        self._seen: int | None = None
        self.count = 0

    def install(self) -> None:
        """Replace the calls for the rest of this process's life; only for one that was forked to die."""
        for owner, names in ((os, CALLS), (InProcessGrid, UPLOADS)):
            for name in names:
                setattr(owner, name, self._around(name, getattr(owner, name)))
        sqlite3.connect = partial(sqlite3.connect, factory=_connection_class(self))  # type: ignore[assignment]

    def point(self, name: str) -> None:
        """Pass a point: it counts where the disks have changed since the last one."""
        state = self._state()
        if state == self._seen:
            return
        self._seen = state
        self.count += 1
        self._on_point(name)
        if self.count == self._strike_at:
            os.kill(os.getpid(), signal.SIGKILL)

    def _around(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*arguments: Any, **named: Any) -> Any:
            self.point(f"before {name}{_of(arguments)}")
            done = call(*arguments, **named)
            self.point(f"after {name}{_of(arguments)}")
            return done

        return counted

    def _state(self) -> int:
        """Return a number that differs where any watched file came, went, or was written to."""
        return hash(frozenset(entry for folder in self._watched for entry in _entries(folder)))


def _entries(folder: str | os.PathLike[str]) -> Iterator[tuple[str, int, int, int]]:
    """Yield what tells the files below a folder from other ones; folders count by their names alone."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                yield entry.path, 0, 0, 0
                yield from _entries(entry.path)
            else:
                facts = entry.stat(follow_symlinks=False)
                yield entry.path, facts.st_ino, facts.st_size, facts.st_mtime_ns


def _of(arguments: tuple[Any, ...]) -> str:
    """Return the last two parts of the path that a call is about, where it is about one."""
    named = [argument for argument in arguments if isinstance(argument, str | os.PathLike)]
    return f" {'/'.join(Path(named[-1]).parts[-2:])}" if named else ""


def _connection_class(boundaries: Boundaries) -> type[sqlite3.Connection]:
    """Return a connection whose commits are boundaries, however they are asked for."""

    class Counted(sqlite3.Connection):
        def commit(self) -> None:
            boundaries.point("before commit")
            super().commit()
            boundaries.point("after commit")

        def __exit__(self, *error: Any) -> Any:
            boundaries.point("before commit")
            ended = super().__exit__(*error)
            boundaries.point("after commit")
            return ended

        def execute(self, sql: str, *arguments: Any) -> sqlite3.Cursor:
            ends = sql.lstrip().upper().startswith(("COMMIT", "END"))
            if ends:
                boundaries.point("before commit")
            cursor = super().execute(sql, *arguments)
            if ends:
                boundaries.point("after commit")
            return cursor

    return Counted
