"""What one arm gave under one seed, as a small JSON file: an ablation goes on where it was cut."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from common.files import write_whole

Figures = dict[str, float | None]


@dataclass(frozen=True)
class Trial:
    """What is to be measured.

    Attributes:
        part: the table it belongs to.
        row: its position in the table, from 0.
        arm: its name there.
        seed: of phantoms and weights.
        key: digest of all settings; figures of other settings are not taken for these.
    """

    part: str
    row: int
    arm: str
    seed: int
    key: str


@dataclass(frozen=True)
class Record:
    """A trial and its figures: column → value, None where there was nothing to measure."""

    trial: Trial
    figures: Figures


def recall_or_measure(folder: Path, trial: Trial, measure: Callable[[], Figures]) -> Record:
    """Return the record in `<folder>/results/` if it is of this very trial, else measure and write it."""
    path = folder / "results" / f"{trial.part}-{trial.row:02d}-{trial.seed}.json"
    if path.is_file() and (record := _read(path)).trial == trial:
        return record
    record = Record(trial, measure())
    tree = {"trial": vars(record.trial), "figures": record.figures}
    write_whole(path, (json.dumps(tree, indent=1) + "\n").encode())
    return record


def read_records(folder: Path) -> list[Record]:
    """Return every record under `folder`, by part, row and seed."""
    records = [_read(path) for path in (folder / "results").glob("*.json")]
    return sorted(records, key=lambda record: (record.trial.part, record.trial.row, record.trial.seed))


def _read(path: Path) -> Record:
    tree = json.loads(path.read_text())
    return Record(Trial(**tree["trial"]), tree["figures"])
