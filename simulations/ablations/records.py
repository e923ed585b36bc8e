"""What one arm gave under one seed, as a small JSON file: an ablation goes on where it was cut."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from common.files import write_whole

Figures = dict[str, float | None]


@dataclass(frozen=True)
class Record:
    """One arm under one seed.

    Attributes:
        part: the table it belongs to.
        arm: its row.
        figures: column → value; None where there was nothing to measure.
    """

    part: str
    arm: str
    seed: int
    figures: Figures


def recall_or_measure(folder: Path, part: str, arm: str, seed: int, measure: Callable[[], Figures]) -> Record:
    """Return the record in `<folder>/results/`, or measure and write it."""
    path = folder / "results" / f"{part}-{arm.replace(' ', '_')}-{seed}.json"
    if path.is_file():
        return Record(**json.loads(path.read_text()))
    record = Record(part, arm, seed, measure())
    write_whole(path, (json.dumps(vars(record), indent=1, sort_keys=True) + "\n").encode())
    return record


def read_records(folder: Path) -> list[Record]:
    """Return every record under `folder`, in the order of the file names."""
    return [Record(**json.loads(path.read_text())) for path in sorted((folder / "results").glob("*.json"))]
