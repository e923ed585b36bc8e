"""How much left the site, by its audit log: counted on from where the last look ended, without holding up a writer."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from client.monitoring import metrics
from client.privacy.audit import FILE, FOLDER
from common.errors import DataError
from common.monitoring.metric import Sample

MESSAGE = "message"


class _Line(BaseModel):
    """What is counted of a line; that the log is whole is for `gliofed-client audit verify` to say."""

    model_config = ConfigDict(extra="ignore", frozen=True, strict=True)

    kind: Annotated[str, Field(max_length=64)]
    size_bytes: Annotated[int, Field(ge=0, le=2**50)] = 0


class Sent:
    """The messages of a site's audit log, and their bytes."""

    def __init__(self, workdir: Path) -> None:
        self._path = workdir / FOLDER / FILE
        self._read_to = self._messages = self._bytes = 0

    def samples(self) -> Iterator[Sample]:
        """Yield both counts; zero before the first message. Raises DataError where a line is none, OSError."""
        if self._path.is_file():
            self._count_on()
        yield metrics.SENT.is_(self._bytes)
        yield metrics.MESSAGES.is_(self._messages)

    def _count_on(self) -> None:
        with self._path.open("rb") as log:
            if log.seek(0, 2) < self._read_to:  # another log lies there now
                self._read_to = self._messages = self._bytes = 0
            log.seek(self._read_to)
            for line in log:
                if not line.endswith(b"\n"):
                    break  # torn, or being written
                found = _parse(line)
                self._read_to += len(line)
                if found.kind == MESSAGE:
                    self._messages, self._bytes = self._messages + 1, self._bytes + found.size_bytes


def _parse(line: bytes) -> _Line:
    try:
        return _Line.model_validate_json(line)
    except (ValidationError, RecursionError):
        raise DataError("the audit log holds a line that is none; run `gliofed-client audit verify`") from None
