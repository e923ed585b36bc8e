"""The verb `import-dicom`: from an export of the archive to cases, with a table between that a person decides."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from common import console
from common.errors import DataError, StudyError

if TYPE_CHECKING:
    from client.dicom.importing import Outcome
    from client.dicom.rows import Row
    from client.dicom.survey import Survey

PROGRAM = "gliofed-client"
EXAMPLES = 5
"""Files that are named a reason; `--json` names all."""
FACES = (
    "faces are still in these volumes: they stay at this site and are shared with nobody; "
    f"{PROGRAM} doctor looks for un-defaced volumes"
)


def register(app: typer.Typer) -> None:
    """Add `import-dicom` to `gliofed-client`."""
    app.command("import-dicom", epilog=console.epilog(f"{PROGRAM} import-dicom ./export --out ./scans"))(import_dicom)


def import_dicom(
    folder: Annotated[Path, typer.Argument(show_default=False, help="Folder of DICOM files, in any nesting.")],
    out: Annotated[Path, typer.Option(show_default=False, help="Folder of the cases; the table is written there too.")],
    accept: Annotated[
        Path | None, typer.Option(show_default=False, help="The table, decided by a person: convert what it takes.")
    ] = None,
    site: Annotated[Path, typer.Option("--site", help="The site's site.toml; keys/patient.key lies beside it.")] = Path(
        "site.toml"
    ),
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for machines.")] = False,
) -> None:
    """Turn DICOM into cases, in two steps; the DICOM files are only read.

    Without --accept, writes OUT/import.csv: what each series is taken for, and why. Decide its column `take` (a
    sequence, or no), then give it with --accept: what it takes is converted without identifiers, patient by keyed hash,
    and what is there already is skipped. Exits with 3 where nothing is usable, a series is undecided, or one could not
    be converted.
    """
    from client.dicom.patient_key import open_secret
    from client.dicom.rows import build_rows
    from client.dicom.survey import survey
    from client.enrolment.folder import SiteFolder

    place = SiteFolder(site)
    policy = place.config.policy
    _apart(folder, out)
    with console.progress("reading headers") as advance:
        found = survey(folder, on_file=advance)
    if accept is not None and not place.patient_key.exists():
        raise StudyError(f"{place.patient_key}: missing; restore it from the backup, or write the table again")
    secret, born = open_secret(place.patient_key)
    rows = build_rows(found, secret)
    if accept is None:
        _review(rows, found, folder, out, place.patient_key if born else None, as_json)
    else:
        _convert(rows, accept, out, policy.keep_scanner, as_json)


def _apart(folder: Path, out: Path) -> None:
    """Refuse to write among the DICOM files. Raises StudyError."""
    one, other = folder.resolve(), out.resolve()
    if one.is_relative_to(other) or other.is_relative_to(one):
        raise StudyError(
            f"{out}: and {folder} lie in one another; choose a folder beside the DICOM, which is only read"
        )


def _review(rows: list[Row], found: Survey, folder: Path, out: Path, born: Path | None, as_json: bool) -> None:
    """Write and show the table. Descriptions and file names are shown on the site's own screen and written nowhere."""
    from client.dicom.rows import State
    from client.dicom.table import COLUMNS, NAME, cells, read_decisions, write_table

    table = out / NAME
    decided = read_decisions(table) if table.exists() else {}
    write_table(table, rows, decided)
    counts = {state.value: sum(row.state is state for row in rows) for state in State}
    if as_json:
        console.print_json(
            {
                "table": str(table),
                "counts": counts,
                "series": [dict(zip(COLUMNS, cells(row, decided), strict=True)) for row in rows],
                "refused_files": {
                    reason.name.lower().replace("_", "-"): {
                        "meaning": reason.value,
                        "files": [str(each) for each in paths],
                    }
                    for reason, paths in found.refused.items()
                },
            }
        )
    else:
        columns = ["series", "patient", "day", "no.", "images", "take", "why", "description (on this screen alone)"]
        console.print_table(f"{folder}: {len(rows)} series", columns, map(_shown, rows))
        for line in _refused_lines(found, folder):
            console.print_line(line)
        if born is not None:
            console.print_line(
                f"{born}: born just now; keep a copy of it apart: without it every patient gets a new name"
            )
        console.print_line(", ".join(f"{number} {state}" for state, number in counts.items()))
        console.print_line(f"decide the column take in {table}, then run the same command with --accept {table}")
    if not counts[State.PROPOSED] + counts[State.UNDECIDED]:
        raise DataError(f"{folder}: holds no series that can be used; each is listed with its reason")


def _shown(row: Row) -> list[str]:
    header = row.series.header
    number = "-" if header.series_number is None else str(header.series_number)
    day = "-" if row.day is None else str(row.day)
    why = "; ".join((*row.remarks, *row.recognition.evidence))
    description = " / ".join(dict.fromkeys(label for label in header.labels[:2] if label))
    return [row.key, row.patient, day, number, str(len(row.series.slices)), row.take, why, description]


def _refused_lines(found: Survey, folder: Path) -> list[str]:
    """Return every reason with how many files it meets, and the first of them."""
    lines = []
    for reason, paths in found.refused.items():
        lines.append(f"{console.count(len(paths), 'file')} left out: {reason}")
        lines += [f"    {_printable(path, folder)}" for path in paths[:EXAMPLES]]
        if len(paths) > EXAMPLES:
            lines.append(f"    and {len(paths) - EXAMPLES} more (listed by --json)")
    return lines


def _printable(path: Path, folder: Path) -> str:
    """Return a name below `folder` that no terminal obeys and every one can show, whatever bytes it is made of."""
    name = str(path.relative_to(folder) if path.is_relative_to(folder) else path)
    return "".join(letter if letter.isprintable() else "?" for letter in name)


def _convert(rows: list[Row], table: Path, out: Path, keep_scanner: bool, as_json: bool) -> None:
    from client.dicom.importing import import_sessions
    from client.dicom.table import read_decisions, settle

    chosen = settle(rows, read_decisions(table), table)
    if not chosen:
        raise DataError(f"{table}: takes no series; write a sequence into the column take of those to convert")
    with console.progress("converting sessions") as advance:
        outcome = import_sessions(chosen, out, keep_scanner, on_session=advance)
    _report(outcome, out, as_json)
    if outcome.failures:
        raise typer.Exit(DataError.exit_code)


def _report(outcome: Outcome, out: Path, as_json: bool) -> None:
    if as_json:
        facts: dict[str, Any] = {"written": outcome.written, "standing": outcome.standing, "failures": outcome.failures}
        console.print_json({"out": str(out), **facts})
        return
    for session, reason in sorted(outcome.failures.items()):
        console.print_line(f"ERROR {session}: {reason}")
    written, standing = console.count(len(outcome.written), "session"), len(outcome.standing)
    console.print_line(f"{written} written to {out}, {standing} there already, {len(outcome.failures)} left out")
    if outcome.written or outcome.standing:
        console.print_line(FACES)
