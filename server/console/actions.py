"""What operators did, a line of JSON each: who, what, to which run, when. Written before it is done."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated

from pydantic import StringConstraints, ValidationError

from common.errors import GliofedError
from common.files import PRIVATE, flush_folder, make_folder
from common.settings.frozen import Frozen

TAIL_BYTES = 64 * 1024


class What(StrEnum):
    """What is written down."""

    LOG_IN = "log-in"
    LOG_OUT = "log-out"
    PAUSE = "pause"
    RESUME = "resume"
    STOP = "stop"


class Action(Frozen):
    """One line.

    Attributes:
        at: when, UTC.
        refused: code of the error where the run did not take it; a second line beside the one that asks.
    """

    at: datetime
    who: Annotated[str, StringConstraints(max_length=32)]
    what: What
    run: Annotated[str, StringConstraints(max_length=255)] | None = None
    refused: Annotated[str, StringConstraints(max_length=64)] | None = None


class Actions:
    """The file of actions; lines are only ever added."""

    def __init__(self, path: Path, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._path, self._clock, self._lock = path, clock, threading.Lock()

    def note(self, who: str, what: What, run: str | None = None, refused: str | None = None) -> None:
        """Add a line, and wait until it is on the disk. Raises GliofedError where it cannot be written."""
        action = Action(at=self._clock(), who=who, what=what, run=run, refused=refused)
        line = json.dumps(action.model_dump(mode="json", exclude_none=True)) + "\n"
        try:
            with self._lock:
                self._append(line.encode())
        except OSError as error:
            raise GliofedError(f"{self._path}: cannot be written ({error.strerror}); nothing was asked") from None

    def _append(self, line: bytes) -> None:
        make_folder(self._path.parent)
        is_new = not self._path.exists()
        descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, PRIVATE)
        try:
            os.write(descriptor, line)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        if is_new:
            flush_folder(self._path.parent)

    def of_run(self, run: str, most: int = 8) -> list[Action]:
        """Return the latest actions on a run, the last first, as far as the end of the file reaches."""
        return [action for action in reversed(self._tail()) if action.run == run][:most]

    def _tail(self) -> list[Action]:
        try:
            with self._path.open("rb") as file:
                file.seek(max(0, self._path.stat().st_size - TAIL_BYTES))
                lines = file.read(TAIL_BYTES).splitlines()
        except OSError:
            return []
        return [action for line in lines if (action := parse_action(line)) is not None]


def parse_action(line: bytes) -> Action | None:
    """Return a line's action; None for the part of a line with which a tail begins, or which a power cut left."""
    try:
        return Action.model_validate_json(line)
    except ValidationError:
        return None
