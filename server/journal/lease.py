"""One process drives a run at a time: it holds a lock that the system takes back when it dies, however it dies."""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path
from typing import Self

from common.errors import StudyError
from common.files import make_folder

PATIENCE_S = 20.0
"""How long a resumed run waits for a predecessor that is about to end."""


class Lease:
    """The right to drive the run whose lock is `path`; on one machine, or on a file system that shares locks."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self._path, self._descriptor = path, descriptor

    @classmethod
    def take(cls, path: Path, patience_s: float = PATIENCE_S) -> Self:
        """Take the right, waiting for whoever has it. Raises StudyError where another process keeps it."""
        make_folder(path.parent)
        descriptor, began = os.open(path, os.O_RDWR | os.O_CREAT, 0o644), time.monotonic()
        while not _lock(descriptor):
            if time.monotonic() - began >= patience_s:
                os.close(descriptor)
                raise StudyError(f"{path.parent.parent}: another process drives this run; stop or end that one first")
            time.sleep(0.1)
        return cls(path, descriptor)

    @staticmethod
    def is_taken(path: Path) -> bool:
        """Return whether some process drives the run now."""
        try:
            descriptor = os.open(path, os.O_RDWR)
        except FileNotFoundError:
            return False
        try:
            return not _lock(
                descriptor, fcntl.LOCK_SH
            )  # shared, so that two who look do not take each other for a driver
        finally:
            os.close(descriptor)

    def release(self) -> None:
        """Give the right back."""
        os.close(self._descriptor)


def _lock(descriptor: int, kind: int = fcntl.LOCK_EX) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
