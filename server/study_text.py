"""A study as TOML text again, with all defaults written out: what a run leaves behind as `study.toml`."""

from __future__ import annotations

import json
from typing import Any

from common.study import Study


def to_toml(study: Study) -> str:
    """Return text that `parse_study` reads back as the same study."""
    tree: dict[str, Any] = study.model_dump(mode="json", exclude_none=True)
    return "\n".join(_table(tree, ())).lstrip("\n") + "\n"


def _table(tree: dict[str, Any], path: tuple[str, ...]) -> list[str]:
    """Return the lines of one table, its plain values first, as TOML wants them."""
    lines = ["", f"[{'.'.join(path)}]"] if path else []
    lines += [f"{key} = {_value(value)}" for key, value in tree.items() if not isinstance(value, dict)]
    for key, value in tree.items():
        if isinstance(value, dict):
            lines += _table(value, (*path, key))
    return lines


def _value(value: Any) -> str:
    """Return a value; text, numbers, truth values and lists of them are written in TOML as in JSON."""
    return json.dumps(value, ensure_ascii=True)
