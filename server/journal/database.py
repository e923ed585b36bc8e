"""One SQLite file in WAL mode: every change is a transaction that is on the disk when it returns, or never was."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from common.errors import GliofedError, ReleaseError
from common.files import make_folder
from server.journal.schema import SCHEMA_VERSION, TABLES

BUSY_S = 30.0
"""How long a writer waits for another process that writes."""


class Database:
    """The journal's file, for one process; others may read and write it at the same time."""

    def __init__(self, path: Path) -> None:
        """Open the file, with its tables where it is new.

        Raises:
            GliofedError: where the disk is full or the file cannot be written.
            ReleaseError: where the file is no journal of this version.
        """
        self.path = path
        with self._explained():
            make_folder(path.parent)
            self._connection = sqlite3.connect(path, timeout=BUSY_S, isolation_level=None)
        try:
            with self._explained():
                for pragma in ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON"):
                    self._connection.execute(f"PRAGMA {pragma}")
            self._create()
        except BaseException:
            self._connection.close()
            raise

    def close(self) -> None:
        """Close the file; the last one to close it folds the log into it."""
        self._connection.close()

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """Do all that is executed inside at once when the context ends, or nothing where it raises.

        Raises:
            GliofedError: where the disk is full; nothing of the transaction stays.
            ReleaseError: where the file is damaged.
        """
        with self._explained():
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._commit()
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    def rows(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        """Return the rows of a query. Raises ReleaseError where the file is damaged."""
        with self._explained():
            return list(self._connection.execute(query, values))

    def _commit(self) -> None:
        """Put the open transaction on the disk: the moment from which it counts."""
        self._connection.execute("COMMIT")

    def _create(self) -> None:
        version = self._version()
        if version == 0:
            with self.writing() as connection:
                if self._version() == 0:  # no other process was faster
                    for statement in TABLES.split(";\n"):
                        if statement.strip():
                            connection.execute(statement)
                    connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        elif version != SCHEMA_VERSION:
            raise ReleaseError(f"{self.path}: is of version {version}, not {SCHEMA_VERSION}; use the GlioFed of then")

    def _version(self) -> int:
        return int(self.rows("PRAGMA user_version")[0][0])

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Turn what SQLite and the disk say into what a reader can act on."""
        try:
            yield
        except sqlite3.OperationalError as error:
            raise GliofedError(
                f"{self.path}: cannot be written ({error}); free space or mend the folder, then resume"
            ) from None
        except sqlite3.DatabaseError as error:
            raise ReleaseError(
                f"{self.path}: cannot be used ({error}); restore it, or start a new run in another folder"
            ) from None
        except OSError as error:
            raise GliofedError(
                f"{self.path}: cannot be opened ({error.strerror}); free space or mend the folder, then resume"
            ) from None
