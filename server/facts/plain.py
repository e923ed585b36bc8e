"""Facts as plain values, for JSON."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from enum import Enum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


def plain(facts: DataclassInstance) -> dict[str, Any]:
    """Return frozen facts as a tree of dicts, lists, text and numbers; times as ISO 8601 in UTC."""
    tree: dict[str, Any] = _plain(asdict(facts))
    return tree


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(_plain(key)): _plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    if isinstance(value, Enum):
        return value.value
    return value.isoformat(timespec="seconds") if isinstance(value, datetime) else value
