"""Cases written as BIDS, one session at a time and whole: `sub-…/ses-…/anat/…`, sidecars, `participants.tsv`."""

from __future__ import annotations

import csv
import fcntl
import io
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from client.data.layouts.participants import read_participants
from client.dicom.convert import ConversionRefusedError, convert
from client.dicom.rows import Row
from client.dicom.sidecar import sidecar
from client.dicom.table import TAKEABLE
from common.errors import DataError, StudyError
from common.files import flush_folder, make_folder, read_at_most, write_whole
from common.sequences import Sequence, in_order

PARTICIPANTS = "participants.tsv"
WORKPLACE = ".import"
RECORD = "import.json"
LARGEST_RECORD = 2**16


@dataclass
class Outcome:
    """What an import did.

    Attributes:
        written: sessions that are there now.
        standing: sessions that were there already, from the same series.
        failures: session → why it was left out; the others are written.
    """

    written: list[str] = field(default_factory=list)
    standing: list[str] = field(default_factory=list)
    failures: dict[str, str] = field(default_factory=dict)


def import_sessions(
    chosen: dict[str, dict[Sequence, Row]],
    out: Path,
    keep_scanner: bool = False,
    on_session: Callable[[int, int], None] | None = None,
) -> Outcome:
    """Convert and write the chosen series; a session appears whole or not at all, and one that stands is not touched.

    Args:
        chosen: session → sequence → series.
        out: folder of the cases.
        keep_scanner: whether manufacturer and model may be kept.
        on_session: called with (sessions done, sessions in all).
    Raises:
        GliofedError: where the folder cannot be written.
        DataError: where its participants.tsv cannot be read.
    """
    outcome = Outcome()
    make_folder(out)
    with _alone(out) as workplace:
        table = _read_table(out / PARTICIPANTS)
        for done, (session, taken) in enumerate(sorted(chosen.items()), start=1):
            patient = next(iter(taken.values())).patient
            name = f"{patient}/{session}"
            try:
                fresh = _write_session(taken, out / patient / session, workplace, keep_scanner)
                (outcome.written if fresh else outcome.standing).append(name)
            except ConversionRefusedError as error:
                outcome.failures[name] = str(error)
            if on_session is not None:
                on_session(done, len(chosen))
        there = sorted({name.partition("/")[0] for name in (*outcome.written, *outcome.standing)})
        if there:
            _list_participants(out / PARTICIPANTS, table, there)
    return outcome


@contextmanager
def _alone(out: Path) -> Iterator[Path]:
    """Yield an empty folder for what is not finished; what a killed run left there names patients and is removed.

    Raises:
        DataError: where another import writes to `out`.
    """
    descriptor = os.open(out, os.O_RDONLY)
    workplace = out / WORKPLACE
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DataError(f"{out}: another import writes there; wait until it has ended") from None
        shutil.rmtree(workplace, ignore_errors=True)
        workplace.mkdir(mode=0o700)
        try:
            yield workplace
        finally:
            shutil.rmtree(workplace, ignore_errors=True)
    finally:
        os.close(descriptor)


def _write_session(taken: dict[Sequence, Row], folder: Path, workplace: Path, keep_scanner: bool) -> bool:
    """Write one session aside, then rename it into its place; return False where it stands already."""
    from client.imaging.nifti import write_volume

    record = {sequence.value: taken[sequence].key for sequence in in_order(taken)}
    if folder.exists():
        if _recorded(folder) != record:
            raise ConversionRefusedError("stands already, made of other series; remove its folder to import it anew")
        return False
    aside = workplace / folder.name
    aside.mkdir()
    for sequence in in_order(taken):
        row = taken[sequence]
        stem = f"{row.patient}_{row.session}_{TAKEABLE[sequence]}"
        try:
            data, affine = convert(row.series, workplace)
        except ConversionRefusedError as error:
            shutil.rmtree(aside)
            raise ConversionRefusedError(f"{sequence} ({row.key}): {error}") from None
        write_volume(aside / "anat" / f"{stem}.nii.gz", data, affine)
        write_whole(aside / "anat" / f"{stem}.json", sidecar(row.series.header, keep_scanner, row.series.lossy))
    write_whole(aside / RECORD, json.dumps({"schema_version": 1, "series": record}, indent=1).encode())
    make_folder(folder.parent)
    aside.rename(folder)
    flush_folder(folder.parent)
    return True


def _recorded(folder: Path) -> dict[str, str] | None:
    """Return the series that a session was made of, None where it has no record of them or lacks an image."""
    try:
        tree = json.loads(read_at_most(folder / RECORD, LARGEST_RECORD))
    except (StudyError, ValueError):
        return None
    series = tree.get("series") if isinstance(tree, dict) else None
    if not isinstance(series, dict) or not set(series) <= set(TAKEABLE):
        return None
    images = [
        folder / "anat" / f"{folder.parent.name}_{folder.name}_{TAKEABLE[Sequence(word)]}.nii.gz" for word in series
    ]
    return series if all(image.is_file() for image in images) else None


def _read_table(path: Path) -> tuple[list[str], list[list[str]]]:
    """Return columns and rows of a participants.tsv, whose other columns a person may have filled in."""
    if not path.exists():
        return ["participant_id", "patient_id"], []
    read_participants(path)  # which names every line that is wrong
    lines = list(csv.reader(path.read_text(encoding="utf-8-sig").splitlines(), delimiter="\t"))
    return lines[0], lines[1:]


def _list_participants(path: Path, table: tuple[list[str], list[list[str]]], patients: list[str]) -> None:
    """Add the patients that the table lacks; every line that is there stays."""
    columns, rows = table
    listed = {row[columns.index("participant_id")] for row in rows}
    for patient in patients:
        if patient not in listed:
            facts = {"participant_id": patient, "patient_id": patient}
            rows.append([facts.get(column, "n/a") for column in columns])
    out = io.StringIO()
    csv.writer(out, delimiter="\t", lineterminator="\n").writerows([columns, *rows])
    write_whole(path, out.getvalue().encode())
