"""Laws of the privacy ledger: what is spent stays written, whatever happens to the process or the file."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from client.privacy.ledger import Entry, Ledger, LedgerError
from common.errors import PolicyError

ROOT = Path(__file__).parents[2]
ENTRY = Entry("a" * 64, "tiny", "0" * 16, "segmenter", 1, 50, 0.1, 1.0, 1e-5)


def anything(entries: list[Entry]) -> None:
    """Allow it."""


def filled(workdir: Path, rounds: int = 3) -> Ledger:
    ledger = Ledger(workdir)
    for number in range(1, rounds + 1):
        ledger.reserve(replace(ENTRY, round=number), anything)
    return ledger


def test_entries_are_read_back_in_order_by_whoever_opens_the_ledger_next(tmp_path: Path) -> None:
    filled(tmp_path)
    assert Ledger(tmp_path).entries() == [replace(ENTRY, round=number) for number in (1, 2, 3)]


def test_a_site_that_never_trained_privately_has_no_ledger(tmp_path: Path) -> None:
    assert Ledger(tmp_path).entries() == [] and not (tmp_path / "privacy").exists()


def test_what_is_not_allowed_is_not_written(tmp_path: Path) -> None:
    ledger = filled(tmp_path, rounds=1)

    def refuse(entries: list[Entry]) -> None:
        assert [entry.round for entry in entries] == [1, 2]
        raise PolicyError("no more")

    with pytest.raises(PolicyError, match="no more"):
        ledger.reserve(replace(ENTRY, round=2), refuse)
    assert ledger.entries() == [ENTRY]


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ("UPDATE entries SET steps = 1 WHERE number = 2", "entry 2 was changed"),
        ("DELETE FROM entries WHERE number = 1", "entry 1 was changed, or one before it is lost"),
        ("DELETE FROM entries WHERE number = 3", "its last entries are lost"),
        ("DELETE FROM head", "its last entries are lost"),
        ("DROP TABLE entries", "no such table"),
    ],
)
def test_a_changed_ledger_is_refused_and_nothing_is_added_to_it(tmp_path: Path, change: str, found: str) -> None:
    ledger = filled(tmp_path)
    connection = sqlite3.connect(ledger.path)
    connection.execute(change)
    connection.commit()
    connection.close()
    with pytest.raises(LedgerError, match=found):
        ledger.entries()
    with pytest.raises(LedgerError, match="Restore the file"):
        ledger.reserve(ENTRY, anything)


@pytest.mark.parametrize("blob", [b"", b"not a database, however long it may be" * 99])
def test_a_ledger_that_is_no_database_any_more_is_refused(tmp_path: Path, blob: bytes) -> None:
    ledger = filled(tmp_path)
    ledger.path.write_bytes(blob)
    with pytest.raises(LedgerError, match="cannot be used"):
        ledger.entries()


def test_a_removed_ledger_does_not_begin_anew_by_itself(tmp_path: Path) -> None:
    ledger = filled(tmp_path)
    ledger.path.unlink()
    with pytest.raises(LedgerError, match="it was removed"):
        ledger.reserve(ENTRY, anything)


KILLED = """
import os, signal, sys
from dataclasses import replace
from pathlib import Path
from client.privacy.ledger import Ledger, Entry
def die(*_): os.kill(os.getpid(), signal.SIGKILL)
entry = Entry("a" * 64, "tiny", "0" * 16, "segmenter", 2, 50, 0.1, 1.0, 1e-5)
Ledger(Path(sys.argv[1])).reserve(entry, die if sys.argv[2] == "before" else lambda _: None)
die()
"""


@pytest.mark.parametrize(("when", "rounds"), [("before", [1]), ("after", [1, 2])])
def test_a_reservation_outlives_the_kill_that_follows_it(tmp_path: Path, when: str, rounds: list[int]) -> None:
    ledger = filled(tmp_path, rounds=1)
    done = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path), when], cwd=ROOT, check=False)
    assert done.returncode == -9
    assert [entry.round for entry in ledger.entries()] == rounds
    ledger.reserve(replace(ENTRY, round=3), anything)


WRITES = """
import sys
from pathlib import Path
from client.privacy.ledger import Ledger, Entry
for number in range(8):
    entry = Entry("a" * 64, "tiny", sys.argv[2] * 16, "segmenter", number, 50, 0.1, 1.0, 1e-5)
    Ledger(Path(sys.argv[1])).reserve(entry, lambda _: None)
"""


def test_two_processes_that_write_at_once_lose_nothing(tmp_path: Path) -> None:
    command = [sys.executable, "-c", WRITES, str(tmp_path)]
    writers = [subprocess.Popen([*command, name], cwd=ROOT) for name in "01"]
    assert [writer.wait(60) for writer in writers] == [0, 0]
    assert len(Ledger(tmp_path).entries()) == 16
