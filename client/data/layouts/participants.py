"""What tables beside the scans say of participants: `participants.tsv` (any layout), and UCSF-PDGM's metadata CSV."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from common.errors import DataError

BBB_WORDS = {"disrupted": True, "intact": False, "n/a": None, "": None}
GRADE_WORDS = {"n/a": None, "": None, "i": 1, "ii": 2, "iii": 3, "iv": 4, "1": 1, "2": 2, "3": 3, "4": 4}


@dataclass(frozen=True)
class Participant:
    """One row: patient key, BBB status and WHO grade, None where the table does not say."""

    patient: str | None = None
    bbb_disrupted: bool | None = None
    grade: int | None = None


def read_participants(path: Path) -> dict[str, Participant]:
    """Return participant_id → row of a `participants.tsv`; columns bbb_status, patient_id and grade are optional.

    Raises:
        DataError: with every line that cannot be used and the words that can.
    """
    rows: dict[str, Participant] = {}
    problems: list[str] = []
    for line, row in _rows(path, "\t"):
        name = row.get("participant_id", "")
        status, grade = row.get("bbb_status", "").lower(), row.get("grade", "").lower()
        if not name:
            problems.append(f"{path}:{line}: no participant_id; add that tab-separated column")
        elif name in rows:
            problems.append(f"{path}:{line}: {name} is listed twice; keep one line")
        elif status not in BBB_WORDS:
            problems.append(f"{path}:{line}: bbb_status {status!r}; write disrupted, intact or n/a")
        elif grade not in GRADE_WORDS:
            problems.append(f"{path}:{line}: grade {grade!r}; write 1, 2, 3, 4 or n/a")
        else:
            patient = row.get("patient_id", "")
            rows[name] = Participant(None if patient in ("", "n/a") else patient, BBB_WORDS[status], GRADE_WORDS[grade])
    if problems:
        raise DataError("\n".join(problems))
    return rows


def read_ucsf_metadata(path: Path) -> dict[str, Participant]:
    """Return participant → grade of a `UCSF-PDGM-metadata*.csv`; its IDs have three digits, the folders four."""
    rows: dict[str, Participant] = {}
    for _, row in _rows(path, ","):
        match = re.fullmatch(r"UCSF-PDGM-([0-9]{1,9})(_FU[0-9]+d)?", row.get("ID", ""))
        if match:
            grade = GRADE_WORDS.get(row.get("WHO CNS Grade", "").lower())
            rows[f"UCSF-PDGM-{int(match[1]):04d}{match[2] or ''}"] = Participant(grade=grade)
    return rows


def find_tables(folders: tuple[Path, ...]) -> tuple[list[Path], list[Path]]:
    """Return the `participants.tsv` files and UCSF metadata files directly in `folders`."""
    tables = [folder / "participants.tsv" for folder in folders if (folder / "participants.tsv").is_file()]
    metadata = [path for folder in folders for path in sorted(folder.glob("UCSF-PDGM-metadata*.csv"))]
    return tables, [path for path in metadata if "glossary" not in path.name]


def _rows(path: Path, delimiter: str) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield (line number, stripped row) of a table. Raises DataError where it cannot be read as text."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read ({type(error).__name__}); save it as UTF-8 text") from None
    reader = csv.DictReader(text.splitlines(), delimiter=delimiter, restkey="", restval="")
    try:
        for row in reader:
            yield reader.line_num, {key: value.strip() for key, value in row.items() if isinstance(value, str)}
    except csv.Error as error:
        raise DataError(f"{path}:{reader.line_num}: no table ({error}); look for a quotation mark left open") from None
