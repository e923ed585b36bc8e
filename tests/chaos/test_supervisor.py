"""Programs that die are started again; those held down stay down; nothing outlives the supervisor."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from common.processes.program import Program
from common.processes.supervisor import Supervisor

PARENT = "import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)']); "
PARENT += "sys.stdout.write('up'); sys.stdout.flush(); time.sleep(600)"


def program(folder: Path, code: str, last_words: str = "") -> Program:
    return Program("parent", [sys.executable, "-c", code], os.environ, folder, folder / "parent.log", last_words)


def wait_for(holds: Callable[[], bool]) -> None:
    until = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < until
        time.sleep(0.05)


def test_what_was_killed_is_started_again(tmp_path: Path) -> None:
    with Supervisor(pause_s=0.1) as supervisor:
        parent = supervisor.take(program(tmp_path, PARENT))
        wait_for(lambda: bool(parent.descendants()))
        before = parent.pid
        supervisor.kill(parent)
        wait_for(lambda: parent.alive and parent.pid != before)
        assert supervisor.restarts == {"parent": 1}


def test_what_is_held_down_stays_down_and_takes_its_children_along(tmp_path: Path) -> None:
    with Supervisor(pause_s=0.1) as supervisor:
        assert not supervisor.all_alive
        parent = supervisor.take(program(tmp_path, PARENT))
        wait_for(lambda: bool(parent.descendants()))
        assert supervisor.all_alive
        with supervisor.held_down([parent]):
            time.sleep(0.6)
            assert not parent.alive
            assert not supervisor.all_alive
            assert parent.descendants() == []
        wait_for(lambda: parent.alive)


def test_a_program_that_has_given_up_is_ended_and_started_again(tmp_path: Path) -> None:
    with Supervisor(pause_s=0.1) as supervisor:
        supervisor.take(program(tmp_path, PARENT, last_words="up"))
        wait_for(lambda: supervisor.restarts.get("parent", 0) >= 2)


def test_nothing_outlives_the_supervisor_even_after_an_exception(tmp_path: Path) -> None:
    parent = program(tmp_path, PARENT)
    with pytest.raises(KeyboardInterrupt), Supervisor() as supervisor:
        supervisor.take(parent)
        wait_for(lambda: bool(parent.descendants()))
        raise KeyboardInterrupt
    assert not parent.alive
    assert parent.descendants() == []
