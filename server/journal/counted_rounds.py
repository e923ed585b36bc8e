"""The rounds that count: their records, and the states that they left."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import load, save

from common.errors import ReleaseError
from common.files import write_whole
from common.moving_average import MovingAverage
from common.parameters import StateDict
from common.records import OK, SITS_OUT
from common.settings.stages import Stage
from server.aggregation.global_state import GlobalState
from server.journal import copies
from server.journal.open_round import SPOOL
from server.journal.part import Part, Record, sha256
from server.journal.requests import RoundName
from server.result import SiteFault

KEPT_ROUNDS = 2
"""Rounds of a stage whose tensors stay on disk; the records of all rounds do."""

GLOBAL, AVERAGE, MOMENTS = "global", "ema", "moments"
DIGESTS = {GLOBAL: "global_sha256", AVERAGE: "average_sha256", MOMENTS: "moments_sha256"}


@dataclass(frozen=True)
class Checkpoint:
    """The last round of a stage that counts: what the stage then had, and its record."""

    round: int
    state: GlobalState
    record: Record


class CountedRounds(Part):
    """The tables `rounds` and `states`, and the states' tensors on the disk."""

    def commit(self, stage: Stage, number: int, state: GlobalState, record: Record) -> dict[str, Any]:
        """Make a round count: tensors first, then one transaction with their digests, then the copies.

        The server optimiser's moments are kept where there are any. Returns the record with the digests.
        """
        states = {GLOBAL: state.tensors, AVERAGE: state.average.tensors, MOMENTS: state.moments}
        digests: dict[str, str] = {}
        for name in states if state.moments else (GLOBAL, AVERAGE):
            blob = save(states[name])
            write_whole(self._state_path(stage, number, name), blob)
            digests[name] = sha256(blob)
        full = {**record, "average_steps": state.average.steps}
        full |= {DIGESTS[name]: digest for name, digest in digests.items()}
        with self._database.writing() as connection:
            connection.execute(
                "INSERT INTO rounds (stage, round, record) VALUES (?, ?, ?)", (stage.value, number, json.dumps(full))
            )
            for name, digest in digests.items():
                path = str(self._state_path(stage, number, name).relative_to(self.out))
                connection.execute(
                    "INSERT INTO states VALUES (?, ?, ?, ?, ?)", (stage.value, number, name, path, digest)
                )
        self._copy_record(full)
        copies.append_line(self.out / copies.METRICS, full)
        self._forget_tensors(stage, number)
        return full

    def records(self, stage: Stage) -> list[dict[str, Any]]:
        """Return the records of a stage's rounds that count, in order."""
        rows = self._database.rows("SELECT record FROM rounds WHERE stage = ? ORDER BY round", stage.value)
        return [json.loads(text) for (text,) in rows]

    def faults(self, stage: Stage) -> list[SiteFault]:
        """Return the sites that were asked in a stage's rounds that count, and failed."""
        return [
            SiteFault(site, entry["code"], stage, record["round"])
            for record in self.records(stage)
            for site, entry in record["sites"].items()
            if entry["code"] not in (OK, *SITS_OUT)
        ]

    def rounds_of(self, site: str) -> list[RoundName]:
        """Return the rounds to which a site contributed, in order."""
        return [
            (Stage(record["stage"]), record["round"])
            for record in self._all_records()
            if record["sites"].get(site, {}).get("code") == OK
        ]

    def last(self, stage: Stage) -> Checkpoint | None:
        """Return the last round that counts, None before the first. Raises ReleaseError where it is damaged."""
        records = self.records(stage)
        if not records:
            return None
        record, number = records[-1], len(records)
        rows = self._database.rows(
            "SELECT name, path, sha256 FROM states WHERE stage = ? AND round = ?", stage.value, number
        )
        states = {name: _tensors(self.out / path, digest) for name, path, digest in rows}
        average = MovingAverage(states[AVERAGE], record["average_steps"])
        return Checkpoint(number, GlobalState(states[GLOBAL], average, states.get(MOMENTS, {})), record)

    def weights(self, stage: Stage) -> Path:
        """Return the file of a finished stage's averaged weights: what is released."""
        return self._state_path(stage, len(self.records(stage)), AVERAGE)

    def _copy_record(self, record: Record) -> None:
        folder = copies.round_folder(self.out, Stage(record["stage"]), record["round"])
        copies.write_copy(folder / copies.RECORD, copies.pretty(record))

    def _forget_tensors(self, stage: Stage, number: int) -> None:
        """Remove the round's updates, which have gone into its sum, and the states of old rounds."""
        shutil.rmtree(self.out / SPOOL, ignore_errors=True)
        for old in range(1, number - KEPT_ROUNDS + 1):
            for path in copies.round_folder(self.out, stage, old).glob("*.safetensors"):
                path.unlink(missing_ok=True)

    def _all_records(self) -> list[dict[str, Any]]:
        return [json.loads(text) for (text,) in self._database.rows("SELECT record FROM rounds ORDER BY position")]

    def _state_path(self, stage: Stage, number: int, name: str) -> Path:
        return copies.round_folder(self.out, stage, number) / f"{name}.safetensors"


def _tensors(path: Path, digest: str) -> StateDict:
    how: str | None = "changed since its round"
    try:
        blob = path.read_bytes()
    except OSError as error:
        blob, how = b"", error.strerror
    if sha256(blob) != digest:
        raise ReleaseError(f"{path}: cannot be used ({how}); restore it, or start a new run in another folder")
    return load(blob)
