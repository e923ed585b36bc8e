"""How a fact reads in a cell of a table."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any


def text_of(value: Any) -> str:
    """Return a value as a table shows it."""
    if isinstance(value, dict):
        return ", ".join(f"{key} {count}" for key, count in value.items())
    if isinstance(value, list):
        return ", ".join(str(entry) for entry in value) or "none"
    return f"{value:g}" if isinstance(value, float) else str(value)


def rows_of(entries: Iterable[Mapping[str, Any]]) -> list[list[str]]:
    """Return a table's row for each entry, its values in their order."""
    return [[text_of(value) for value in entry.values()] for entry in entries]
