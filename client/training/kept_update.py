"""The finished updates that a site keeps: asked again for the same round, it answers with the same bytes.

So nothing is trained twice where an answer was lost on its way, and no privacy is spent twice. The key is run (the
folder), stage, round, the global state that the round started from, the cases that the site has, and its policy: after
a change of these it trains anew.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from common.files import write_whole
from common.logs import logger
from common.records import Task

log = logger(__name__)

SUFFIX = ".answer"
DIGEST_BYTES = 32
KEPT_A_ROUND = 2
"""Answers that are kept of one round: the same round may have been begun from two global states."""


@dataclass(frozen=True)
class KeptUpdates:
    """The folder `<workdir>/state/<run>/kept`: the answers of a stage's newest round and of the one before.

    `policy` is the digest of what the site allows now.
    """

    folder: Path
    policy: str

    def find(self, task: Task, cohort: str) -> bytes | None:
        """Return the answer to this very task, None where it was never finished; a damaged one is removed."""
        path = self._path(task, cohort)
        if not path.is_file():
            return None
        blob = path.read_bytes()
        answer, digest = blob[:-DIGEST_BYTES], blob[-DIGEST_BYTES:]
        if hashlib.sha256(answer).digest() == digest:
            return answer
        log.warning("%s was changed; the round is trained anew", path)
        path.unlink()
        return None

    def has_under_another_policy(self, task: Task, cohort: str) -> bool:
        """Return whether this very task was answered when the site allowed something else."""
        return (
            any(self.folder.glob(f"{self._beginning(task, cohort)}.*{SUFFIX}"))
            and not self._path(task, cohort).is_file()
        )

    def keep(self, task: Task, cohort: str, answer: bytes) -> None:
        """Put the answer on the disk before it leaves, then forget those of older rounds."""
        write_whole(self._path(task, cohort), answer + hashlib.sha256(answer).digest())
        of_this_round: list[tuple[int, Path]] = []
        for path in self.folder.glob(f"*{SUFFIX}"):
            stage, number, *_ = path.name.split(".")
            if stage != task.stage.value or int(number) < task.round - 1:
                path.unlink()
            elif int(number) == task.round:
                of_this_round.append((path.stat().st_mtime_ns, path))
        for _, path in sorted(of_this_round)[:-KEPT_A_ROUND]:
            path.unlink()

    def _path(self, task: Task, cohort: str) -> Path:
        return self.folder / f"{self._beginning(task, cohort)}.{self.policy[:16]}{SUFFIX}"

    @staticmethod
    def _beginning(task: Task, cohort: str) -> str:
        return f"{task.stage.value}.{task.round}.{task.global_sha256[:32]}{cohort[:16]}"
