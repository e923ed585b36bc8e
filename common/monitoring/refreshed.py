"""What is too slow to be read whenever somebody asks: a thread reads it again and again, others take the last value."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Generic, Self, TypeVar

from common.errors import GliofedError
from common.logs import logger

log = logger(__name__)

Value = TypeVar("Value")


class NotReadError(GliofedError):
    """A fact has not been read yet, or could not be."""

    code = "not-read"


class Refreshed(Generic[Value]):
    """The value of `read`, never older than `every_s` and the time that reading takes, while its `with` lasts.

    Args:
        name: of the fact, for the log.
        read: reads it; where it raises, it cannot be read now.
        every_s: pause between two readings.

    Attributes:
        missed: how often in a row it could not be read.
    """

    def __init__(self, name: str, read: Callable[[], Value], every_s: float) -> None:
        self.name, self._read, self.every_s = name, read, every_s
        self.missed = 0
        self._value: Value | None = None
        self._good_at: float | None = None
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._go_on, name=f"monitoring-{name}", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join(timeout=1.0)  # one that waits for the disk or the network ends with the program

    @property
    def age_s(self) -> float:
        """Seconds since it was last read; infinite before the first time."""
        return float("inf") if self._good_at is None else time.monotonic() - self._good_at

    def latest(self) -> Value:
        """Return the last value. Raises NotReadError before the first one, and while it cannot be read."""
        value = self._value
        if value is None or self.missed:
            raise NotReadError(f"{self.name}: {'cannot be read' if self.missed else 'was not read yet'}")
        return value

    def refresh(self) -> None:
        """Read it now."""
        try:
            self._value = self._read()
        except Exception as error:  # whatever it is: a thread that dies would leave its last value standing as news
            if not self.missed:
                log.warning("%s cannot be read: %s: %s", self.name, type(error).__name__, error)
            self.missed += 1
        else:
            self.missed, self._good_at = 0, time.monotonic()

    def _go_on(self) -> None:
        self.refresh()
        while not self._over.wait(self.every_s):
            self.refresh()
