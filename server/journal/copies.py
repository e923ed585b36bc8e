"""Readable copies of what the journal holds: for people, reports and other programs; the journal never reads them."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from common.errors import GliofedError, ReleaseError
from common.files import write_whole
from common.settings.stages import Stage

STUDY, PLAN, METRICS, RESULT, WITHDRAWN = "study.toml", "plan.json", "metrics.jsonl", "run.json", "withdrawn.json"
RECORD, AVERAGE = "round.json", "ema.safetensors"


def round_folder(out: Path, stage: Stage, number: int) -> Path:
    """Return the folder of one round of the run in `out`."""
    return out / "rounds" / stage.value / str(number)


def last_average(out: Path, stage: Stage) -> Path:
    """Return the averaged weights of a stage's last round that counts. Raises ReleaseError where there is none."""
    number = 0
    while (round_folder(out, stage, number + 1) / RECORD).is_file():
        number += 1
    if not number:
        raise ReleaseError(f"{out}: no round of {stage} counts yet; finish the run first")
    return round_folder(out, stage, number) / AVERAGE


def write_copy(path: Path, text: str) -> None:
    """Write a copy unless it is there as it should be. Raises GliofedError where it cannot be written."""
    blob = text.encode()
    if not (path.is_file() and path.read_bytes() == blob):
        write_whole(path, blob)


def append_line(path: Path, record: Mapping[str, Any]) -> None:
    """Add a line of metrics; a killed coordinator may tear it, a resumed one writes all of them anew."""
    try:
        with path.open("a", encoding="utf-8") as file:
            file.write(line(record))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise GliofedError(f"{path}: cannot be written ({error.strerror}); free space, then resume") from None


def pretty(tree: Any) -> str:
    """Return JSON for a reader."""
    return json.dumps(tree, sort_keys=True, indent=1) + "\n"


def line(record: Mapping[str, Any]) -> str:
    """Return a record as one line."""
    return json.dumps(record, sort_keys=True, separators=(",", ":")) + "\n"


def lines(records: Iterable[Mapping[str, Any]]) -> str:
    """Return records as lines, in order."""
    return "".join(line(record) for record in records)
