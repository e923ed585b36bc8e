"""The records of all arms and seeds as Markdown tables: the mean over seeds, and the range."""

from __future__ import annotations

from collections.abc import Iterable
from statistics import fmean

from simulations.ablations.records import Record


def tables(records: Iterable[Record]) -> str:
    """Return one table a part: a row an arm, a column a figure, in the order of the records.

    A cell is the mean over the seeds that measured it and, in brackets, the least and the largest.
    """
    every = list(records)
    parts = dict.fromkeys(record.trial.part for record in every)
    return "\n".join(_table(part, [record for record in every if record.trial.part == part]) for part in parts)


def _table(part: str, records: list[Record]) -> str:
    columns = tuple(dict.fromkeys(name for record in records for name in record.figures))
    lines = [
        f"## {part}",
        "",
        "| arm | seeds | " + " | ".join(columns) + " |",
        "|---" * (len(columns) + 2) + "|",
    ]
    for arm in dict.fromkeys(record.trial.arm for record in records):
        rows = [record for record in records if record.trial.arm == arm]
        cells = [_cell([record.figures.get(name) for record in rows]) for name in columns]
        lines.append(f"| {arm} | {len(rows)} | " + " | ".join(cells) + " |")
    return "\n".join([*lines, ""])


def _cell(values: list[float | None]) -> str:
    known = [value for value in values if value is not None]
    if not known:
        return "-"
    if len(known) == 1:
        return _number(known[0])
    return f"{_number(fmean(known))} ({_number(min(known))}-{_number(max(known))})"


def _number(value: float) -> str:
    """Return three significant digits, whole numbers as such."""
    return f"{value:.0f}" if value == round(value) or abs(value) >= 100 else f"{value:.3g}"
