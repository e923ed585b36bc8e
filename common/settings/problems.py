"""What is wrong in a settings file: a line for each problem that names file, line and key and says what to change."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic import ValidationError
    from pydantic_core import ErrorDetails


def problems_of(error: ValidationError, origin: str, text: str, whole: str) -> str:
    """Return every problem as `file:line: key: what to change`, line by line.

    Args:
        error: what pydantic found.
        origin: the file, as the reader knows it.
        text: its TOML.
        whole: what stands for the key where a problem is of the whole file.
    """
    return "\n".join(_describe(problem, origin, text, whole) for problem in error.errors())


def _describe(problem: ErrorDetails, origin: str, text: str, whole: str) -> str:
    location = [str(part) for part in problem["loc"]]
    message = plain(problem)
    named = re.match(r"([a-z_]+(?:\.[a-z_]+)*): ", message)
    if named:
        location, message = [*location, *named.group(1).split(".")], message[named.end() :]
    line = line_of(text, [part for part in location if not part.isdigit()])
    return f"{origin}{f':{line}' if line else ''}: {'.'.join(location) or whole}: {message}"


def plain(problem: ErrorDetails) -> str:
    """Return what is wrong, or what to do, without pydantic's words for it."""
    if problem["type"] == "extra_forbidden":
        return "unknown key; remove it or correct its spelling"
    if problem["type"] == "missing":
        return "missing; add it"
    return problem["msg"].removeprefix("Value error, ")


def line_of(text: str, location: list[str]) -> int | None:
    """Return the 1-based line of the key or table at `location` in TOML text, or of its nearest enclosing table."""
    best: int | None = None
    depth = 0
    table: list[str] = []
    for number, line in enumerate(text.splitlines(), start=1):
        header = re.match(r"\s*\[\[?\s*([^\]]+?)\s*\]\]?", line)
        key = re.match(r"\s*([A-Za-z0-9_.\"-]+)\s*=", line)
        if header:
            table = [part.strip(' "') for part in header.group(1).split(".")]
            path = table
        elif key:
            path = [*table, *(part.strip(' "') for part in key.group(1).split("."))]
        else:
            continue
        if len(path) > depth and path == location[: len(path)]:
            best, depth = number, len(path)
    return best
