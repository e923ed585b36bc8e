"""`import.csv`: what the import would do, one line a series, for a person to decide; and what that person decided.

It holds keys, numbers and our own words: no identifier, no date, no description.
"""

from __future__ import annotations

import csv
import io
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from client.dicom.rows import Row, State
from common.errors import DataError
from common.files import read_at_most, write_whole
from common.sequences import Sequence

NAME = "import.csv"
LARGEST_BYTES = 64 * 2**20
TAKEABLE: dict[Sequence, str] = {
    Sequence.T1: "T1w",
    Sequence.T1GD: "ce-gadolinium_T1w",
    Sequence.T2: "T2w",
    Sequence.FLAIR: "FLAIR",
    Sequence.T1MAP: "T1map",
    Sequence.ADC: "ADC",
    Sequence.CBV: "CBV",
    Sequence.SWI: "SWI",
    Sequence.DWI: "trace",
    Sequence.ASL: "cbf",
}
"""Sequences that are one volume, and how BIDS ends their names."""

COLUMNS = (
    "series", "patient", "session", "day", "number", "part", "files", "plane", "size", "spacing_mm", "recognised",
    "confidence", "evidence", "remarks", "take",
)  # fmt: skip
WORDS = {"no": None, **{word.casefold(): word for word in TAKEABLE}}


def write_table(path: Path, rows: Iterable[Row], decided: dict[str, str] | None = None) -> None:
    """Write the table; what a person decided of the same series in an earlier one stays.

    Raises:
        GliofedError: where it cannot be written.
    """
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(cells(row, decided or {}) for row in rows)
    write_whole(path, out.getvalue().encode("ascii"))


def cells(row: Row, decided: dict[str, str]) -> list[str]:
    """Return one line of the table."""
    earlier = decided.get(row.key, "?")
    take = row.take if earlier == "?" or row.state is State.REFUSED else str(WORDS[earlier] or "no")
    header, grid = row.series.header, row.series.grid
    return [
        row.key,
        row.patient,
        row.session,
        "" if row.day is None else str(row.day),
        "" if header.series_number is None else str(header.series_number),
        row.series.part,
        str(len(row.series.slices)),
        grid.plane if grid else "",
        "x".join(map(str, grid.shape)) if grid else "",
        "x".join(f"{size:.3g}" for size in grid.spacing_mm) if grid else "",
        str(row.recognition.sequence or ""),
        row.recognition.confidence.value if row.recognition.sequence else "",
        "; ".join(row.recognition.evidence),
        "; ".join(row.remarks),
        take,
    ]


def read_decisions(path: Path) -> dict[str, str]:
    """Return series → what a person wrote into `take`, in lower case; commas or semicolons part the columns.

    Raises:
        DataError: with every line that cannot be used.
        StudyError: where the file is missing or too large.
    """
    try:
        text = read_at_most(path, LARGEST_BYTES).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise DataError(f"{path}: not UTF-8 text; save it as CSV in UTF-8") from None
    lines = text.splitlines()
    separator = ";" if lines and ";" in lines[0] and "," not in lines[0] else ","
    decisions: dict[str, str] = {}
    problems = []
    try:
        reader = csv.DictReader(lines, delimiter=separator, restkey="", restval="")
        if not {"series", "take"} <= set(reader.fieldnames or ()):
            raise DataError(f"{path}: lacks the columns series and take; take the table that the first run wrote")
        for row in reader:
            series, take = (row[key].strip() if isinstance(row[key], str) else "" for key in ("series", "take"))
            where = f"{path}:{reader.line_num}: "
            if series in decisions:
                problems.append(f"{where}{series!r} is listed twice; keep one line")
            if take.casefold() not in WORDS and take != "?":
                words = ", ".join(TAKEABLE)
                problems.append(f"{where}take {take!r} is no sequence; write one of {words}, or no")
            decisions[series] = take.casefold()
    except csv.Error as error:
        raise DataError(f"{path}: no CSV table ({error}); take the table that the first run wrote") from None
    if problems:
        raise DataError("\n".join(problems))
    return decisions


def settle(rows: Iterable[Row], decisions: dict[str, str], path: Path) -> dict[str, dict[Sequence, Row]]:
    """Return session → what to convert as which sequence.

    Raises:
        DataError: with every series that is undecided, unknown, new, refused and yet taken, or taken twice as one
            sequence in a session.
    """
    known = {row.key: row for row in rows}
    problems = [
        f"{path}: {key!r} is not in the folder any more; write the table again" for key in decisions if key not in known
    ]
    chosen: dict[str, dict[Sequence, Row]] = defaultdict(dict)
    for key, row in known.items():
        take = decisions.get(key)
        if take is None:
            problems.append(f"{path}: {key} is in the folder but not in the table; write the table again")
            continue
        if take == "?":
            problems.append(f"{path}: {key} is undecided ({'; '.join(row.remarks)}); write a sequence or no")
            continue
        sequence = WORDS[take]
        if sequence is None:
            continue
        if row.state is State.REFUSED:
            problems.append(f"{path}: {key} cannot be taken ({'; '.join(row.problems)}); write no")
        elif sequence in chosen[row.session]:
            other = chosen[row.session][sequence].key
            problems.append(f"{path}: {key} and {other} are both taken as {sequence} of one session; write no at one")
        else:
            chosen[row.session][sequence] = row
    if problems:
        raise DataError("\n".join(problems))
    return {session: taken for session, taken in chosen.items() if taken}
