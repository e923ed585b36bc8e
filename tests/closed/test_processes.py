"""Services: what they keep alive, what they give up, how they end, and how their logs stay small."""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
import time
from pathlib import Path

import pytest

from common.errors import FederationError, StudyError
from common.processes.flower import environment, flower_program
from common.processes.log_file import LogFile
from common.processes.ports import free_port, listens, refuse_taken, wait_for_port
from common.processes.program import Program
from common.processes.service import TRIES, ended_by_signal, keep_alive
from common.processes.supervisor import Supervisor

DIES = "print('Exit Code: 305', flush=True); raise SystemExit(1)"
LEAVES = """
import signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: (print("good bye", flush=True), sys.exit(0)))
print("up", flush=True)
time.sleep(600)
"""


def program(folder: Path, code: str, excuse: str = "", name: str = "one") -> Program:
    return Program(name, [sys.executable, "-c", code], os.environ, folder, folder / f"{name}.log", excuse=excuse)


def test_a_program_that_dies_again_and_again_ends_the_service_with_its_log_named(tmp_path: Path) -> None:
    with Supervisor(pause_s=0.0) as supervisor:
        supervisor.take(program(tmp_path, DIES))
        with pytest.raises(FederationError, match=f"died {TRIES} times in a row.*one.log"):
            keep_alive(supervisor, threading.Event())


def test_a_program_that_says_why_it_cannot_go_on_is_tried_for_ever(tmp_path: Path) -> None:
    with Supervisor(pause_s=0.0) as supervisor:
        supervisor.take(program(tmp_path, DIES, excuse="Exit Code: 305"))
        until = time.monotonic() + 30
        while supervisor.restarts.get("one", 0) <= TRIES:
            assert time.monotonic() < until
            time.sleep(0.05)
        assert supervisor.failing(TRIES) == []


def test_with_grace_a_program_takes_its_leave(tmp_path: Path) -> None:
    with Supervisor(grace_s=10.0) as supervisor:
        leaving = supervisor.take(program(tmp_path, LEAVES))
        while "up" not in leaving.log.read_text():
            time.sleep(0.05)
    assert "good bye" in leaving.log.read_text()
    assert not leaving.alive


def test_sigterm_ends_a_service_and_what_was_set_for_it_before_is_set_again() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with ended_by_signal() as over:
        os.kill(os.getpid(), signal.SIGTERM)
        assert over.wait(5)
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_taken_port_is_named_and_a_free_one_is_not() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert listens(port)
        with pytest.raises(StudyError, match=rf"fleet_port \({port}\)"):
            refuse_taken({"fleet_port": port, "ports.hub": free_port()})


def test_waiting_for_a_port_ends_in_time_and_at_once_where_nobody_waits_any_more() -> None:
    port = free_port()
    with pytest.raises(FederationError, match="nobody listens"):
        wait_for_port(port, patience_s=0.3)
    wait_for_port(port, go_on=lambda: False)


# ---- logs


def test_a_log_is_read_as_it_grows_from_the_beginning_of_a_line(tmp_path: Path) -> None:
    log = LogFile(tmp_path / "a.log")
    assert log.new_text() == ""
    log.path.write_text("old\n")
    log.begin()
    with log.path.open("a") as file:
        file.write("one\ntw")
        file.flush()
        assert log.new_text() == "one\ntw"
        file.write("o\n")
    assert log.new_text() == "two\n"
    assert log.new_text() == ""


def test_a_log_that_is_too_large_is_set_aside_and_its_writer_goes_on(tmp_path: Path) -> None:
    log = LogFile(tmp_path / "a.log", max_bytes=10)
    with log.path.open("a") as file:
        file.write("0123456789x\n")
        file.flush()
        log.cut()
        file.write("next\n")
    assert (tmp_path / "a.log.1").read_text() == "0123456789x\n"
    assert log.path.read_text() == "next\n"
    assert log.new_text() == "next\n"


# ---- Flower


def test_flower_is_kept_quiet_and_no_proxy_stands_before_this_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_PROXY", "intranet")
    found = environment(tmp_path, {"MORE": "1"})
    assert found["NO_PROXY"] == "intranet,127.0.0.1,localhost"
    assert (found["FLWR_HOME"], found["MORE"], found["FLWR_TELEMETRY_ENABLED"]) == (str(tmp_path), "1", "0")
    assert (found["FLWR_DISABLE_UPDATE_CHECK"], found["FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION"]) == ("1", "1")


def test_flowers_programs_are_found_whatever_lies_in_the_folder_or_on_the_path() -> None:
    command = flower_program("flower-supernode")
    assert command[:3] == [sys.executable, "-P", "-c"]
    assert "from flwr.supernode.cli import flower_supernode" in command[3]
