"""The round that does not count yet: its tries, the updates that were accepted in it, and the sites that failed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import save

from common.files import write_whole
from common.parameters import StateDict
from common.records import RoundKey
from common.settings.stages import Stage
from server.aggregation.weighted import SpooledUpdate
from server.journal.part import Part, Record, sha256
from server.journal.requests import now
from server.result import SiteFault

SPOOL = "journal/spool"


def spooled(out: Path, stage: Stage, number: int) -> Path:
    """Return the folder of the single updates of one round of the run in `out`."""
    return out / SPOOL / stage.value / str(number)


class OpenRounds(Part):
    """The tables `attempts`, `updates` and `faults`, and the updates' tensors on the disk."""

    def begin_attempt(self, stage: Stage, number: int) -> int:
        """Return which try of a round this is, from 1; it counts on over restarts."""
        with self._database.writing() as connection:
            connection.execute(
                "INSERT INTO attempts VALUES (?, ?, 1) ON CONFLICT DO UPDATE SET attempts = attempts + 1",
                (stage.value, number),
            )
        return self._attempt(stage, number)

    def accept(
        self, key: RoundKey, site: str, tensors: StateDict, patients: Mapping[str, int], entry: Record
    ) -> SpooledUpdate:
        """Keep an accepted update until its round counts: when this returns it need not be asked for again.

        Args:
            key: the round, and the global state from which the site trained.
            patients: per parameter group, the patients behind it.
            entry: what the round's record will say of the site.
        """
        stage, number = key.stage, key.round
        assert stage is not None and number is not None, "a task's key is whole"  # noqa: S101
        path = spooled(self.out, stage, number) / f"{site}.safetensors"
        blob = save(tensors)
        write_whole(path, blob)
        values = (stage.value, number, site, self._attempt(stage, number), key.global_sha256, sha256(blob))
        texts = (str(path.relative_to(self.out)), json.dumps(dict(patients)), json.dumps(dict(entry)))
        with self._database.writing() as connection:
            connection.execute("INSERT OR REPLACE INTO updates VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", (*values, *texts))
        return SpooledUpdate(site, path, dict(patients))

    def take_back(self, stage: Stage, number: int, site: str) -> None:
        """Forget an update that passed alone but did not stand beside the others: it is not accepted after all."""
        with self._database.writing() as connection:
            connection.execute(
                "DELETE FROM updates WHERE stage = ? AND round = ? AND site = ?", (stage.value, number, site)
            )
        (spooled(self.out, stage, number) / f"{site}.safetensors").unlink(missing_ok=True)

    def accepted(self, stage: Stage, number: int, global_sha256: str) -> list[tuple[SpooledUpdate, dict[str, Any]]]:
        """Return the updates of a round from this global state that are whole on the disk, with their entries."""
        rows = self._database.rows(
            "SELECT site, path, sha256, patients, entry FROM updates "
            "WHERE stage = ? AND round = ? AND global_sha256 = ? ORDER BY site",
            *(stage.value, number, global_sha256),
        )
        return [
            (SpooledUpdate(site, self.out / path, json.loads(patients)), json.loads(entry))
            for site, path, digest, patients, entry in rows
            if _is_whole(self.out / path, digest)
        ]

    def note_fault(self, fault: SiteFault) -> None:
        """Write down a site that failed, when it does; late answers as well."""
        values = (fault.stage and fault.stage.value, fault.round, fault.site, fault.code, now())
        with self._database.writing() as connection:
            connection.execute("INSERT INTO faults (stage, round, site, code, at) VALUES (?, ?, ?, ?, ?)", values)

    def noted_faults(self) -> list[tuple[SiteFault, str]]:
        """Return all faults that were written down with their times, those of rounds that never counted as well."""
        rows = self._database.rows("SELECT site, code, stage, round, at FROM faults ORDER BY id")
        return [(SiteFault(site, code, Stage(stage) if stage else None, n), at) for site, code, stage, n, at in rows]

    def _attempt(self, stage: Stage, number: int) -> int:
        query = "SELECT attempts FROM attempts WHERE stage = ? AND round = ?"
        ((attempt,),) = self._database.rows(query, stage.value, number)
        return int(attempt)


def _is_whole(path: Path, digest: str) -> bool:
    try:
        return sha256(path.read_bytes()) == digest
    except OSError:
        return False
