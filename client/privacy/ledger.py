"""What private training has cost this site's patients: a ledger that outlives rounds, stages, studies and restarts.

An entry stands for all the noisy steps of one round. It is on the disk before the first of them, and spent from then
on, whether or not the round ends: a crash cannot spend anything that is not written here. Every entry carries a digest
over itself and the entry before it, so that a changed or lost one is found; a damaged ledger is never trained on.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from common.errors import PolicyError
from common.files import flush_folder

FILE = "ledger.sqlite"
WAIT_S = 60.0
FIRST = "0" * 64


class LedgerError(PolicyError):
    """The site's privacy ledger cannot be trusted, so nothing private is trained."""

    code = "privacy-ledger"


@dataclass(frozen=True)
class Entry:
    """The noisy steps of one round, as they were reserved.

    Attributes:
        study, study_name: digest and name of the study.
        run, stage, round: where in it.
        steps: noisy moves of an optimiser.
        sampling_rate, noise_multiplier, delta: of the study's mechanism.
    """

    study: str
    study_name: str
    run: str
    stage: str
    round: int
    steps: int
    sampling_rate: float
    noise_multiplier: float
    delta: float


COLUMNS = tuple(field.name for field in fields(Entry))


class Ledger:
    """The file `<workdir>/privacy/ledger.sqlite`."""

    def __init__(self, workdir: Path) -> None:
        self.path = workdir / "privacy" / FILE

    def entries(self) -> list[Entry]:
        """Return all entries, the oldest first; none where nothing private was ever trained. Raises LedgerError."""
        if not self.path.parent.exists():
            return []
        with self._opened() as connection:
            return [entry for entry, _ in self._read(connection)]

    def reserve(self, entry: Entry, allowed: Callable[[list[Entry]], None]) -> None:
        """Add `entry` unless `allowed`, which sees all entries and the new one last, raises; on the disk on return.

        No other process can write between what `allowed` saw and the entry.

        Raises:
            LedgerError: where the ledger is missing, damaged or cannot be written.
        """
        with self._opened(create=not self.path.parent.exists()) as connection:
            connection.execute("BEGIN IMMEDIATE")
            known = self._read(connection)
            allowed([*(each for each, _ in known), entry])
            digest = _digest(entry, known[-1][1] if known else FIRST)
            marks = ", ".join("?" * (len(COLUMNS) + 1))
            values = (*(getattr(entry, name) for name in COLUMNS), digest)
            connection.execute(f"INSERT INTO entries ({', '.join(COLUMNS)}, digest) VALUES ({marks})", values)  # noqa: S608
            connection.execute("UPDATE head SET count = count + 1, digest = ?", (digest,))
            connection.execute("COMMIT")

    @contextmanager
    def _opened(self, create: bool = False) -> Iterator[sqlite3.Connection]:
        """Open the database, all changes of which are on the disk when they are done; no error of its leaves."""
        if create:
            self._create()
        if not self.path.is_file():
            raise self._broken("it was removed")
        try:
            with closing(sqlite3.connect(self.path, timeout=WAIT_S, isolation_level=None)) as connection:
                connection.execute("PRAGMA synchronous = EXTRA")
                yield connection
        except sqlite3.Error as error:
            raise self._broken(str(error)) from None
        except OSError as error:
            raise self._broken(str(error.strerror)) from None

    def _create(self) -> None:
        """Make an empty ledger beside its final place, and move its folder there whole."""
        folder = self.path.parent
        aside = folder.with_name(f".privacy.{os.getpid()}.part")
        try:
            shutil.rmtree(aside, ignore_errors=True)
            aside.mkdir(parents=True)
            with closing(sqlite3.connect(aside / FILE, isolation_level=None)) as connection:
                connection.execute("PRAGMA synchronous = EXTRA")
                columns = ", ".join(f"{name} NOT NULL" for name in (*COLUMNS, "digest"))
                connection.execute(f"CREATE TABLE entries (number INTEGER PRIMARY KEY, {columns})")
                connection.execute("CREATE TABLE head (count INTEGER NOT NULL, digest NOT NULL)")
                connection.execute("INSERT INTO head VALUES (0, ?)", (FIRST,))
            aside.rename(folder)
            flush_folder(folder.parent)
        except (OSError, sqlite3.Error) as error:
            shutil.rmtree(aside, ignore_errors=True)
            if not self.path.is_file():  # else another process was first
                raise self._broken(str(error)) from None

    def _read(self, connection: sqlite3.Connection) -> list[tuple[Entry, str]]:
        """Return the entries with their digests. Raises LedgerError where one was changed, or any is lost."""
        if connection.execute("PRAGMA quick_check").fetchone() != ("ok",):
            raise self._broken("its file is damaged")
        rows = connection.execute(f"SELECT {', '.join(COLUMNS)}, digest FROM entries ORDER BY number").fetchall()  # noqa: S608
        found = [(Entry(*row[:-1]), str(row[-1])) for row in rows]
        before = FIRST
        for number, (entry, digest) in enumerate(found, start=1):
            if digest != _digest(entry, before):
                raise self._broken(f"entry {number} was changed, or one before it is lost")
            before = digest
        if connection.execute("SELECT count, digest FROM head").fetchall() != [(len(found), before)]:
            raise self._broken("its last entries are lost")
        return found

    def _broken(self, how: str) -> LedgerError:
        return LedgerError(
            f"{self.path}: cannot be used ({how}), and without it nobody knows what was spent. Restore the file; or, "
            f"where nothing private was trained since, remove {self.path.parent} to begin anew. Nothing was trained"
        )


def _digest(entry: Entry, before: str) -> str:
    text = json.dumps([before, asdict(entry)], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
