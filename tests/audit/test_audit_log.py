"""The audit log: every way to change it is found, and what a power cut tears is healed and said."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from client.privacy.audit import AuditLog, Head
from client.privacy.audit_entry import AuditError, Entry, read_entry
from common.errors import PolicyError, StudyError

RUN = "0" * 16


@pytest.fixture
def log(tmp_path: Path) -> AuditLog:
    """A log of five entries."""
    log = AuditLog(tmp_path)
    for number in range(5):
        log.append("message", run=RUN, asked="train", code="ok", metrics={"metrics/training.loss": number / 2})
    return log


def lines(log: AuditLog) -> list[bytes]:
    return log.path.read_bytes().splitlines(keepends=True)


def rewrite(log: AuditLog, new: list[bytes]) -> None:
    log.path.write_bytes(b"".join(new))


def test_an_untouched_log_verifies_and_every_line_names_the_one_before(log: AuditLog) -> None:
    head = log.verify()
    assert head.count == 5 and head.size_bytes == log.path.stat().st_size
    assert [entry.number for entry in log.entries()] == [1, 2, 3, 4, 5]
    assert log.path.stat().st_mode & 0o777 == 0o600


def test_no_log_is_an_empty_one(tmp_path: Path) -> None:
    assert AuditLog(tmp_path).verify() == Head()
    assert not (tmp_path / "audit").exists(), "looking writes nothing"


@pytest.mark.parametrize("number", range(5))
def test_an_edit_of_any_line_is_found(log: AuditLog, number: int) -> None:
    found = lines(log)
    found[number] = found[number].replace(b'"code":"ok"', b'"code":"no"')
    rewrite(log, found)
    with pytest.raises(AuditError, match="line"):
        log.verify()


@pytest.mark.parametrize("keep", range(5))
def test_a_truncation_is_found_and_nothing_is_added_to_what_is_left(log: AuditLog, keep: int) -> None:
    rewrite(log, lines(log)[:keep])
    with pytest.raises(AuditError, match=f"ends after line {keep} of 5"):
        log.verify()
    with pytest.raises(AuditError, match="lines are lost"):
        log.append("message")


def test_two_lines_that_changed_places_are_found(log: AuditLog) -> None:
    found = lines(log)
    rewrite(log, [found[0], found[2], found[1], *found[3:]])
    with pytest.raises(AuditError, match="line 2 does not follow line 1"):
        log.verify()


def test_a_line_taken_out_and_all_later_ones_chained_anew_are_found_by_the_head(log: AuditLog, tmp_path: Path) -> None:
    other = AuditLog(tmp_path / "other")
    for entry in list(log.entries())[1:]:
        other.append("message", run=RUN, asked="train", code="ok", metrics=entry.metrics)
    log.path.write_bytes(other.path.read_bytes())
    with pytest.raises(AuditError, match="ends after line 4 of 5"):
        log.verify()


def test_a_whole_forged_history_is_found_by_a_digest_that_was_noted_elsewhere(log: AuditLog, tmp_path: Path) -> None:
    noted, other = log.verify().digest, AuditLog(tmp_path / "other")
    for _ in range(7):
        other.append("message", code="ok")
    for name in ("audit.jsonl", "head.json"):
        (log.folder / name).write_bytes((other.folder / name).read_bytes())
    assert log.verify().count == 7, "the chain alone cannot know"
    with pytest.raises(AuditError, match="does not hold the digest that was noted"):
        log.verify(noted)


def test_a_digest_that_was_noted_earlier_is_found_in_a_log_that_grew(log: AuditLog) -> None:
    noted = log.verify().digest
    log.append("stopped", run=RUN, by="someone")
    assert log.verify(noted).count == 6


@pytest.mark.parametrize("name", ["head.json"])
def test_a_lost_or_damaged_head_is_found(log: AuditLog, name: str) -> None:
    (log.folder / name).write_bytes(b"{}x")
    with pytest.raises(AuditError, match="damaged"):
        log.verify()
    (log.folder / name).unlink()
    with pytest.raises(AuditError, match="lost its head"):
        log.append("message")


@pytest.mark.parametrize("cut", [1, 40, -1])
def test_a_line_that_a_kill_tore_is_cut_off_and_the_log_says_so(log: AuditLog, cut: int) -> None:
    torn = lines(log)[-1][:cut]
    log.path.write_bytes(log.path.read_bytes() + torn)
    assert log.verify().count == 5, "what is torn never left"
    log.append("message", code="ok")
    found = list(log.entries())
    assert [entry.kind for entry in found[5:]] == ["healed", "message"]
    assert f"{len(torn)} bytes" in str(found[5].note)
    assert log.verify().count == 7


def test_a_line_whose_head_a_kill_kept_from_being_written_counts(log: AuditLog) -> None:
    before = (log.folder / "head.json").read_bytes()
    log.append("message", code="late")
    (log.folder / "head.json").write_bytes(before)
    assert log.verify().count == 6
    log.append("message", code="ok")
    assert [entry.code for entry in log.entries()][-2:] == ["late", "ok"]


def test_a_kill_before_the_very_first_line_leaves_a_log_that_begins(tmp_path: Path) -> None:
    log = AuditLog(tmp_path)
    log.append("message")
    log.path.write_bytes(b'{"num')
    (log.folder / "head.json").write_bytes(Head().model_dump_json().encode())
    log.append("message")
    assert [entry.kind for entry in log.entries()] == ["healed", "message"]


def test_two_writers_at_a_time_make_one_chain(tmp_path: Path) -> None:
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: AuditLog(tmp_path).append("message"), range(20)))
    assert AuditLog(tmp_path).verify().count == 20


def test_a_folder_that_cannot_be_written_is_an_error_with_a_code(tmp_path: Path) -> None:
    (tmp_path / "audit").write_bytes(b"")
    with pytest.raises(AuditError) as caught:
        AuditLog(tmp_path).append("message")
    assert caught.value.code == "audit-log"


def test_an_entry_is_on_the_disk_before_the_writer_returns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flushed: list[str] = []
    fsync = os.fsync

    def spy(descriptor: int) -> None:
        flushed.append(Path(f"/proc/self/fd/{descriptor}").readlink().name)
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", spy)
    AuditLog(tmp_path).append("message")
    assert "audit.jsonl" in flushed
    assert any(re.match(r"\.head\.json.*part", name) for name in flushed[flushed.index("audit.jsonl") :])


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=300))
def test_no_bytes_break_the_parser_of_a_line(blob: bytes) -> None:
    with pytest.raises(AuditError):
        read_entry(blob)


LINE = Entry.model_validate(
    {"number": 1, "before": "0" * 64, "at": "2026-11-22T01:00:00Z", "kind": "message", "code": "ok"}
).to_line()


@settings(max_examples=150, deadline=None)
@given(position=st.integers(0, len(LINE) - 1), byte=st.integers(0, 255))
def test_a_changed_byte_is_another_entry_or_none(position: int, byte: int) -> None:
    changed = LINE[:position] + bytes([byte]) + LINE[position + 1 :]
    try:
        entry: Any = read_entry(changed)
    except AuditError:
        return
    assert entry.to_line() == changed and (changed == LINE) == (byte == LINE[position])


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_no_damage_to_the_files_raises_anything_else(tmp_path_factory: pytest.TempPathFactory, data: Any) -> None:
    log = AuditLog(tmp_path_factory.mktemp("fuzz"))
    for _ in range(2):
        log.append("message")
    name = data.draw(st.sampled_from(["audit.jsonl", "head.json"]))
    blob = (log.folder / name).read_bytes()
    start = data.draw(st.integers(0, len(blob)))
    end = data.draw(st.integers(start, len(blob)))
    damaged = blob[:start] + data.draw(st.binary(max_size=20)) + blob[end:]
    (log.folder / name).write_bytes(damaged)
    torn_alone = damaged.startswith(blob) and b"\n" not in damaged[len(blob) :]
    try:
        log.verify()
    except AuditError:
        assert name == "head.json" or not torn_alone
    else:
        assert name == "head.json" or torn_alone


WRITER = """
import sys
from pathlib import Path
from client.privacy.audit import AuditLog
log = AuditLog(Path(sys.argv[1]))
sys.stdout.write("ready")
sys.stdout.flush()
while True:
    log.append("message", run="0" * 16, metrics={f"metrics/{number}": 1.0 for number in range(2000)})
"""


def test_a_log_whose_writer_is_killed_again_and_again_stays_whole(tmp_path: Path) -> None:
    counts = [0]
    for _ in range(2):
        with subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE) as writer:
            assert writer.stdout is not None and writer.stdout.read(5) == b"ready"
            time.sleep(0.3)
            writer.kill()
        counts.append(AuditLog(tmp_path).verify().count)
    AuditLog(tmp_path).append("message")
    assert 0 < counts[1] < counts[2] < AuditLog(tmp_path).verify().count


def test_what_is_forbidden_in_the_last_moment_is_not_written_and_no_entry_follows_the_one_that_forbids(
    tmp_path: Path,
) -> None:
    log, consent = AuditLog(tmp_path), tmp_path / "consent"

    def allow() -> None:
        if not consent.exists():
            raise PolicyError("nobody approved")

    def speak() -> None:
        with suppress(PolicyError):
            while True:
                log.append("message", allow, run=RUN, asked="train", code="ok")

    for _ in range(5):
        consent.touch()
        with ThreadPoolExecutor(3) as pool:
            speaking = [pool.submit(speak) for _ in range(2)]
            time.sleep(0.02)
            consent.unlink()
            log.append("revoked", plan="0" * 64)
            for each in speaking:
                each.result()
        assert next(reversed(list(log.entries()))).kind == "revoked"
    with pytest.raises(PolicyError, match="nobody approved"):
        log.append("message", allow, run=RUN, asked="train", code="ok")


def test_what_the_last_question_raises_is_not_told_as_a_broken_log(log: AuditLog) -> None:
    def allow() -> None:
        raise StudyError("site.toml:3: unknown key")

    with pytest.raises(StudyError, match=r"^site\.toml:3"):
        log.append("message", allow, run=RUN, asked="train", code="ok")
