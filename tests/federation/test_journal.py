"""The journal: a run that is cut at any of its writes, or finds its disk full there, goes on to the same bytes."""

from __future__ import annotations

import errno
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from common.errors import GliofedError, StudyError
from common.moving_average import start
from common.records import RoundKey
from common.sequences import Sequence
from common.settings.stages import Stage
from server.aggregation.global_state import GlobalState
from server.journal import Journal, copies
from server.journal.database import Database
from server.journal.lease import Lease
from server.result import SiteFault

TWO_ROUNDS = "rounds = 2\nlocal_steps = 1\nema_decay = 0.5"
WRITERS = (
    *("server.journal.open_round.write_whole", "server.journal.counted_rounds.write_whole"),
    *("server.journal.copies.write_whole", "server.registry.write_whole"),
    *("server.journal.copies.append_line", "server.registry.flush_folder"),
)


class PowerCutError(Exception):
    """What ends the coordinator where it stands."""


class Boundaries:
    """Counts the coordinator's writes and strikes at one of them, before or after it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.seen, self.at, self.after = 0, -1, False
        self.blow: Callable[[], Exception] = PowerCutError
        for name in WRITERS:
            module, _, function = name.rpartition(".")
            original = getattr(__import__(module, fromlist=[function]), function)
            monkeypatch.setattr(name, lambda *given, original=original: self._pass(original, *given))
        commit = Database._commit
        monkeypatch.setattr(Database, "_commit", lambda database: self._pass(commit, database))

    def _pass(self, original: Callable[..., Any], *given: Any) -> Any:
        self.seen += 1
        if self.seen == self.at and not self.after:
            raise self.blow()
        result = original(*given)
        if self.seen == self.at:
            raise self.blow()
        return result

    def strike(self, number: int, after: bool, blow: Callable[[], Exception]) -> None:
        self.seen, self.at, self.after, self.blow = 0, number, after, blow


def test_a_run_that_is_cut_at_any_write_goes_on_to_the_same_bytes(
    tiny: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    consortium = tiny.consortium.add("a", 2, [Sequence.T1]).add("b", 2, [Sequence.T1])
    study, boundaries = tiny.make_study(stages__generator=TWO_ROUNDS), Boundaries(monkeypatch)
    undisturbed = tiny.fingerprint(consortium.run(study, where="undisturbed"))
    total = boundaries.seen
    assert total >= 20
    for number in range(1, total + 1):
        boundaries.strike(number, number % 2 == 0, PowerCutError)
        with pytest.raises(PowerCutError):
            consortium.run(study, where=f"cut-{number}")
        boundaries.strike(-1, False, PowerCutError)
        assert tiny.fingerprint(consortium.run(study, where=f"cut-{number}", resume=True)) == undisturbed, number


@pytest.mark.parametrize("part", [0.3, 0.6, 0.9])
def test_a_full_disk_is_named_tears_nothing_and_the_run_goes_on_once_there_is_room(
    part: float, tiny: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    consortium = tiny.consortium.add("a", 2, [Sequence.T1])
    study, full = tiny.make_study(["a"], stages__generator=TWO_ROUNDS), FullDisk(monkeypatch)
    undisturbed = tiny.fingerprint(consortium.run(study, where="undisturbed"))
    full.after(int(part * full.seen))
    with pytest.raises(GliofedError, match=r"No space left.*free space"):
        consortium.run(study, where="full")
    assert not [path for path in (consortium.root / "full" / "run").rglob("*.part") if path.is_file()]
    full.after(None)
    assert tiny.fingerprint(consortium.run(study, where="full", resume=True)) == undisturbed


class FullDisk:
    """Lets the coordinator write so often, and then no more, as `write` of a full disk does."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.seen, self.room = 0, None
        flush = __import__("os").fsync

        def fsync(descriptor: int) -> None:
            if "/run/" in str(Path(f"/proc/self/fd/{descriptor}").resolve()):
                self.seen += 1
                if self.room is not None and self.seen > self.room:
                    raise OSError(errno.ENOSPC, "No space left on device")
            flush(descriptor)

        monkeypatch.setattr("common.files.os.fsync", fsync)

    def after(self, writes: int | None) -> None:
        self.seen, self.room = 0, writes


def test_a_database_without_room_says_what_to_do_and_keeps_what_was_committed(tmp_path: Path) -> None:
    database = Database(tmp_path / "journal.sqlite")
    database._connection.execute("PRAGMA max_page_count = 30")
    with database.writing() as connection:
        connection.execute("INSERT INTO roster VALUES ('a', '2', NULL)")
    with pytest.raises(GliofedError, match=r"full.*free space"), database.writing() as connection:
        for number in range(1000):
            connection.execute("INSERT INTO roster VALUES (?, '3', ?)", (f"b{number}", "x" * 1000))
    assert database.rows("SELECT site FROM roster") == [("a",)]
    database.close()


def test_two_processes_may_open_a_new_journal_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, rows = tmp_path / "journal.sqlite", Database.rows

    def overtaken(database: Database, query: str, *values: Any) -> Any:
        found = rows(database, query, *values)
        if query == "PRAGMA user_version" and found == [(0,)]:
            monkeypatch.setattr(Database, "rows", rows)
            Database(path).close()  # another process is faster
        return found

    monkeypatch.setattr(Database, "rows", overtaken)
    database = Database(path)
    assert database.rows("SELECT site FROM roster") == []
    database.close()


def test_every_commit_is_flushed_to_the_disk(tmp_path: Path) -> None:
    database = Database(tmp_path / "journal.sqlite")
    settings = [database.rows(f"PRAGMA {name}") for name in ("journal_mode", "synchronous", "foreign_keys")]
    assert settings == [[("wal",)], [(2,)], [(1,)]]
    with pytest.raises(GliofedError), database.writing() as connection:
        connection.execute("INSERT INTO nowhere VALUES (1)")
    database.close()


@pytest.fixture
def journal(tiny: SimpleNamespace, tmp_path: Path) -> Iterator[Journal]:
    with Journal.open(tmp_path / "run", tiny.make_study(), resume=False) as opened:
        yield opened


KEY = RoundKey("0" * 16, Stage.GENERATOR, 1, "a" * 64)


def test_an_accepted_update_counts_only_for_the_state_that_it_was_trained_from(journal: Journal) -> None:
    assert journal.begin_attempt(Stage.GENERATOR, 1) == 1
    journal.accept(KEY, "b", {"trunk": torch.ones(2)}, {"shared": 2}, {"code": "ok"})
    ((update, entry),) = journal.accepted(Stage.GENERATOR, 1, "a" * 64)
    assert (update.site, update.patients, entry) == ("b", {"shared": 2}, {"code": "ok"})
    assert journal.accepted(Stage.GENERATOR, 1, "b" * 64) == [] == journal.accepted(Stage.GENERATOR, 2, "a" * 64)
    assert journal.begin_attempt(Stage.GENERATOR, 1) == 2


def test_no_single_update_outlives_its_round_though_the_coordinator_dies_as_it_counts(
    tiny: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*_: Any) -> None:
        raise PowerCutError

    consortium, study = tiny.consortium.add("a", 2, [Sequence.T1]), tiny.make_study(["a"], stages__generator="rounds=1")
    with monkeypatch.context() as patch, pytest.raises(PowerCutError):
        patch.setattr("server.journal.journal.Journal._forget_tensors", die)
        consortium.run(study)
    left = lambda: list((tmp_path / "run" / "journal" / "spool").rglob("*.safetensors"))  # noqa: E731 (one expression)
    assert len(left()) == 1
    assert consortium.run(study, resume=True).status == "complete" and left() == []


def test_an_update_that_is_taken_back_is_gone_from_the_disk(journal: Journal) -> None:
    journal.begin_attempt(Stage.GENERATOR, 1)
    path = journal.accept(KEY, "b", {"trunk": torch.ones(2)}, {"shared": 2}, {"code": "ok"}).path
    journal.take_back(Stage.GENERATOR, 1, "b")
    assert not path.exists() and journal.accepted(Stage.GENERATOR, 1, "a" * 64) == []


def test_an_accepted_update_that_was_changed_on_the_disk_is_asked_for_again(journal: Journal) -> None:
    journal.begin_attempt(Stage.GENERATOR, 1)
    path = journal.accept(KEY, "b", {"trunk": torch.ones(2)}, {"shared": 2}, {"code": "ok"}).path
    path.write_bytes(path.read_bytes()[:-1] + b"\x00")
    assert journal.accepted(Stage.GENERATOR, 1, "a" * 64) == []


def test_a_round_that_counts_is_found_again_with_the_optimisers_moments(journal: Journal) -> None:
    tensors = {"trunk": torch.arange(3.0)}
    state = GlobalState(tensors, start(tensors), {"first": torch.ones(1)})
    record = {"stage": "generator", "round": 1, "sites": {"a": {"code": "ok"}, "b": {"code": "late"}}}
    journal.commit(Stage.GENERATOR, 1, state, record)
    last = journal.last(Stage.GENERATOR)
    assert last is not None and last.round == 1
    assert torch.equal(last.state.tensors["trunk"], tensors["trunk"])
    assert torch.equal(last.state.moments["first"], torch.ones(1))
    assert journal.rounds_of("a") == [(Stage.GENERATOR, 1)] and journal.rounds_of("b") == []
    assert journal.faults(Stage.GENERATOR) == [SiteFault("b", "late", Stage.GENERATOR, 1)]
    with pytest.raises(GliofedError):
        journal.commit(Stage.GENERATOR, 1, state, record)  # a round counts once


def test_a_run_keeps_its_identifier_in_whatever_folder_it_lies_and_no_other_run_has_it(
    tiny: SimpleNamespace, tmp_path: Path
) -> None:
    study = tiny.make_study()

    def opened(folder: str, resume: bool) -> str:
        with Journal.open(tmp_path / folder, study, resume) as journal:
            return journal.run

    first, second = opened("x/run", False), opened("y/run", False)
    assert first != second and opened("y/run", True) == second
    (tmp_path / "x" / "run").rename(tmp_path / "archive")
    assert opened("archive", True) == first


def test_two_processes_never_drive_one_run(journal: Journal) -> None:
    with pytest.raises(StudyError, match="another process drives this run"):
        Lease.take(journal.out / "journal" / "driver.lock", 0.0)
    with Journal.look_into(journal.out) as other:
        assert other.driven
    journal.close()
    with Journal.look_into(journal.out) as other:
        assert not other.driven


def test_a_folder_without_a_journal_is_named(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match="holds no run"):
        Journal.look_into(tmp_path)


def test_a_journal_of_another_version_is_refused(journal: Journal) -> None:
    with sqlite3.connect(journal.out / "journal" / "journal.sqlite") as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(GliofedError, match="version 99"):
        Journal.look_into(journal.out)


def test_the_last_average_is_found_without_the_journal(journal: Journal) -> None:
    with pytest.raises(GliofedError, match="no round of generator"):
        copies.last_average(journal.out, Stage.GENERATOR)
    tensors = {"trunk": torch.zeros(1)}
    for number in (1, 2):
        record = {"stage": "generator", "round": number, "sites": {}}
        journal.commit(Stage.GENERATOR, number, GlobalState(tensors, start(tensors)), record)
    assert copies.last_average(journal.out, Stage.GENERATOR) == journal.weights(Stage.GENERATOR)
