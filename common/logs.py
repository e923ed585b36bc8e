"""Logging of all programs: short lines for people, or one JSON object a line for machines; stderr, or a file."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from pathlib import Path

from common.printable import printable

ROOT = "gliofed"
PEOPLE = "%(asctime)s %(levelname)s %(name)s: %(message)s"


class PlainLines(logging.Formatter):
    """Lines for people, in which nothing steers the terminal that shows them."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as text, an exception's traceback below it."""
        return printable(super().format(record))


class JsonLines(logging.Formatter):
    """One JSON object a line: time (UTC, ISO 8601), level, logger, message, and the type of an exception."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as one line of JSON."""
        entry = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info and record.exc_info[0] is not None:
            entry["exception"] = record.exc_info[0].__name__
        return json.dumps(entry, sort_keys=True)


def logger(name: str) -> logging.Logger:
    """Return the logger of the module `name`, below `gliofed`, so that other libraries keep their own levels."""
    return logging.getLogger(f"{ROOT}.{name}")


def configure(level: str = "warning", as_json: bool = False, file: Path | None = None) -> None:
    """Send records of `level` and above to stderr, or append them to `file`; a second call replaces the target."""
    handler: logging.Handler = logging.StreamHandler(sys.stderr)
    if file is not None:
        handler = logging.FileHandler(file, encoding="utf-8")
    handler.setFormatter(JsonLines() if as_json else PlainLines(PEOPLE))
    root = logging.getLogger(ROOT)
    for old in list(root.handlers):
        root.removeHandler(old)
        old.close()
    root.addHandler(handler)
    root.setLevel(level.upper())
    root.propagate = False
