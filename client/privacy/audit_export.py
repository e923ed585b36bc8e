"""The audit log as one file that others read: JSON with everything, or CSV with a line a message."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

from client.privacy.audit import AuditLog
from client.privacy.audit_entry import Entry
from common.errors import StudyError
from common.files import PRIVATE, write_whole

COLUMNS = (
    *("number", "at", "kind", "asked", "code", "run", "study", "stage", "round", "plan"),
    *("tensors", "numbers", "size_bytes", "by", "note", "before"),
)


def export_log(log: AuditLog, out: Path) -> int:
    """Write the verified log to `out` and return how many entries it has.

    Raises:
        StudyError: where `out` is neither .json nor .csv.
        AuditError: where the log was changed; nothing is written.
    """
    if out.suffix not in (".json", ".csv"):
        raise StudyError(f"{out}: give a file that ends with .json or .csv")
    entries = list(log.entries())
    text = _as_json(entries) if out.suffix == ".json" else _as_csv(entries)
    write_whole(out, text.encode(), PRIVATE)
    return len(entries)


def _as_json(entries: list[Entry]) -> str:
    return json.dumps([entry.model_dump(mode="json") for entry in entries], indent=1, sort_keys=True) + "\n"


def _as_csv(entries: list[Entry]) -> str:
    """Return a line an entry; a cell that a spreadsheet would take for a formula gets an apostrophe before it."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(COLUMNS)
    for entry in entries:
        facts = entry.model_dump(mode="json") | {"tensors": len(entry.tensors), "numbers": len(entry.metrics)}
        writer.writerow([_harmless(facts[name]) for name in COLUMNS])
    return file.getvalue()


def _harmless(value: object) -> object:
    return f"'{value}" if isinstance(value, str) and value[:1] in "=+-@" and value else value
