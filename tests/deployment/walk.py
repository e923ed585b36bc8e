"""Walks the how-to pages: runs their commands on this machine, as the coordinator and as each hospital."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from common.processes.program import Program

PROGRAMS = Path(sys.executable).parent
SERVER = "gliofed.example.org"
"""How the pages call the server."""
PAGES_SITE = "hospital-a"
"""The hospital as which the pages speak."""
PAGES_RUN = "three-hospitals"


@dataclass
class Party:
    """The coordinator or a hospital: a folder of its own in which it types the pages' commands.

    Attributes:
        folder: where it types.
        words: what stands in the pages → what it is here.
        typed: every line of a page that was run, as the page has it.
    """

    folder: Path
    words: dict[str, str]
    typed: list[str] = field(default_factory=list)

    def type(self, line: str, answer: str = "", more: str = "", exit_code: int = 0) -> str:
        """Run a line of a page, with `answer` to what it asks; return what it prints. `more` is added to the line.

        Raises:
            AssertionError: where it ends with another exit code.
        """
        done = subprocess.run(
            self.command(f"{line} {more}"),
            cwd=self.folder,
            env=environment(),
            input=answer + "\n",
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
        assert done.returncode == exit_code, f"{line} {more}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        self.typed.append(line)
        return done.stdout + done.stderr

    def ask(self, line: str) -> Any:
        """Run a line with `--json` and return what it says."""
        said = self.type(line, more="--json")
        return json.loads(said[min(at for at in (said.find("{"), said.find("[")) if at >= 0) :].rsplit("\n\n\n")[0])

    def start(self, line: str) -> Program:
        """Start a line of a page that runs until it is ended."""
        self.typed.append(line)
        name = "-".join(line.split()[:2])
        program = Program(name, self.command(line), environment(), self.folder, self.folder / f"{name}.log")
        program.start()
        return program

    def command(self, line: str) -> list[str]:
        """Return how a shell runs a line, its words as they are here; a program alone takes the shell's place."""
        for word, here in self.words.items():
            line = line.replace(word, here)
        return ["sh", "-c", line if "&&" in line else f"exec {line}"]


def environment() -> dict[str, str]:
    """Return the environment in which everything runs: this machine's, one thread, the same code."""
    path = os.pathsep.join((str(PROGRAMS), os.environ["PATH"]))
    own = {"OMP_NUM_THREADS": "1", "COLUMNS": "200", "FLWR_SUPEREXEC_TASK_POLL_INTERVAL": "0.1", "PATH": path}
    return os.environ | own


def wait_until(done: Callable[[], bool], what: str, patience_s: float = 120.0) -> None:
    """Wait until `done`. Raises AssertionError after `patience_s`."""
    until = time.monotonic() + patience_s
    while not done():
        assert time.monotonic() < until, f"after {patience_s:g} s still not: {what}"
        time.sleep(0.25)


@contextmanager
def running(*programs: Program) -> Iterator[None]:
    """End the programs, and all that they started, when the block ends."""
    with ExitStack() as stack:
        for program in programs:
            stack.callback(program.end)
        yield
