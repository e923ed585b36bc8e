"""How a task passes from the executor to the guard."""

from __future__ import annotations

import argparse
import os
from dataclasses import dataclass
from pathlib import Path

TOKEN = "GLIOFED_TASK_TOKEN"  # noqa: S105 (the name of a variable)
"""In the environment, not among the arguments: other users of the machine can read those."""


@dataclass(frozen=True)
class Handover:
    """What a guard is told of its task.

    Attributes:
        address: where the task's input is to be had, and where its output goes.
        token: what says there that the task is this process's.
        parent_pid: the executor, with whose end the task ends.
        root_certificates: file of whom to believe at the address; without it, it is spoken to in clear.
    """

    address: str
    token: str
    parent_pid: int
    root_certificates: Path | None = None

    def words(self) -> list[str]:
        """Return the arguments of the guard's command line."""
        words = ["--runtime-api-address", self.address, "--parent-pid", str(self.parent_pid)]
        return words if self.root_certificates is None else [*words, "--root-certificates", str(self.root_certificates)]

    def environment(self) -> dict[str, str]:
        """Return the guard's environment: this process's, and the token."""
        return {**os.environ, TOKEN: self.token}

    @property
    def certificates(self) -> bytes | None:
        """What is in the file of root certificates."""
        return None if self.root_certificates is None else self.root_certificates.read_bytes()

    @classmethod
    def received(cls, description: str | None) -> Handover:
        """Return what this process was told, and take the token out of the environment."""
        parser = argparse.ArgumentParser(description=description)
        parser.add_argument("--runtime-api-address", required=True)
        parser.add_argument("--parent-pid", type=int, required=True)
        parser.add_argument("--root-certificates", type=Path)
        given = parser.parse_args()
        return cls(given.runtime_api_address, os.environ.pop(TOKEN), given.parent_pid, given.root_certificates)
