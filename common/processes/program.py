"""One program: started in a session of its own, logged into a file, killed by its number."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from common.processes.log_file import LogFile

PROC = Path("/proc")


@dataclass(frozen=True)
class Process:
    """A process that lives: its number, and how it was called."""

    pid: int
    command: str

    def kill(self) -> None:
        """End it as the kernel does when memory is out: SIGKILL, nothing can be tidied up."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)


class Program:
    """A long-running program and what it starts.

    Args:
        name: also the stem of its log file.
        command: program and arguments.
        environment: its whole environment.
        folder: where it runs.
        log: file that its output is appended to.
        last_words: text in its log after which it does nothing more, though its process lives.
        excuse: text in its log after which its end is nobody's fault here, and worth any number of tries.
    """

    def __init__(
        self,
        name: str,
        command: list[str],
        environment: Mapping[str, str],
        folder: Path,
        log: Path,
        last_words: str = "",
        excuse: str = "",
    ) -> None:
        self.name, self.command, self.log = name, command, log
        self._environment, self._folder = dict(environment), folder
        self._words = tuple(words for words in (last_words, excuse) if words)
        self._last_words, self._excuse = last_words, excuse
        self._file = LogFile(log)
        self._said: set[str] = set()
        self._process: subprocess.Popen[bytes] | None = None
        self._sessions: list[int] = []
        self.began_s = 0.0

    def start(self) -> None:
        """Start it, as the leader of a new session, so that all that it starts can be found."""
        self._file.cut()
        self._file.begin()
        self._said.clear()
        self.began_s = time.monotonic()
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self.command,
                cwd=self._folder,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._sessions.append(self._process.pid)

    @property
    def alive(self) -> bool:
        """Whether the program itself runs; it is reaped where it does not."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """Its process number. Raises RuntimeError before the first start."""
        if self._process is None:
            raise RuntimeError(f"{self.name} was never started")
        return self._process.pid

    @property
    def given_up(self) -> bool:
        """Whether it has said its last words since it was started."""
        return self._has_said(self._last_words)

    @property
    def excused(self) -> bool:
        """Whether it has said since it was started why it cannot go on, and that is not for us to mend."""
        return self._has_said(self._excuse)

    def _has_said(self, words: str) -> bool:
        if not words:
            return False
        text = self._file.new_text()
        self._said.update(each for each in self._words if each in text)
        return words in self._said

    def cut_log(self) -> None:
        """Set what it wrote aside where that is too much."""
        self._file.cut()

    def kill(self) -> None:
        """Kill the program alone; what it had started may live on, as it does when a process dies."""
        if self._process is not None:
            Process(self.pid, self.name).kill()
            self._process.wait()

    def descendants(self, called: str = "") -> list[Process]:
        """Return the living processes of its sessions besides itself, those whose command holds `called`."""
        return [
            process
            for process in _processes(self._sessions)
            if process.pid not in self._sessions and called in process.command
        ]

    def end(self, patience_s: float = 10.0, grace_s: float = 0.0) -> None:
        """Kill it and all that it ever started, and wait until they are gone; within `grace_s` it may end by itself."""
        if grace_s and self._process is not None and self.alive:
            self._process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(grace_s)
        until = time.monotonic() + patience_s
        while living := list(_processes(self._sessions)):
            for process in living:
                process.kill()
            if self._process is not None:
                self._process.poll()
            if time.monotonic() > until:
                raise RuntimeError(f"{self.name}: {len(living)} processes cannot be ended")
            time.sleep(0.05)
        if self._process is not None:
            self._process.wait()


def _processes(sessions: list[int]) -> Iterator[Process]:
    """Yield the processes, zombies aside, that belong to one of `sessions`."""
    for entry in PROC.iterdir():
        if entry.name.isdecimal():
            with contextlib.suppress(OSError):  # it ended while we looked
                state, _, _, session = (entry / "stat").read_text().rpartition(")")[2].split()[:4]
                if state != "Z" and int(session) in sessions:
                    command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                    yield Process(int(entry.name), command)
