"""The journal of a run: what was planned, accepted and counted. It survives the coordinator's death at any instant.

`<out>/journal/journal.sqlite` decides; tensors lie beside it as safetensors, written aside, flushed and renamed before
the transaction that names their digest. Everything else that a run leaves is a copy, made again when it is resumed.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self, TypeVar

from pydantic import ValidationError
from safetensors.torch import load, save

from common.errors import ReleaseError, StudyError
from common.files import write_whole
from common.moving_average import MovingAverage
from common.parameters import StateDict
from common.plan import Plan
from common.records import OK, SITS_OUT, Greys, RoundKey
from common.roster_file import Roster
from common.sequences import Sequence
from common.settings.frozen import Frozen
from common.settings.stages import Stage
from common.study import Study, code_version, parse_study
from server.aggregation.global_state import GlobalState
from server.aggregation.weighted import SpooledUpdate
from server.journal import copies
from server.journal.database import Database
from server.journal.lease import Lease
from server.journal.requests import Requests, RoundName, now
from server.result import RunResult, SiteFault
from server.study_text import to_toml

KEPT_ROUNDS = 2
"""Rounds of a stage whose tensors stay on disk; the records of all rounds do."""

FILE, LOCK, SPOOL = "journal/journal.sqlite", "journal/driver.lock", "journal/spool"
GLOBAL, AVERAGE, MOMENTS = "global", "ema", "moments"
DIGESTS = {GLOBAL: "global_sha256", AVERAGE: "average_sha256", MOMENTS: "moments_sha256"}

Record = Mapping[str, Any]
Text = TypeVar("Text", bound=Frozen)


class SiteGreys(Frozen):
    """The grey constants that the sites answered."""

    sites: dict[str, dict[Sequence, Greys]]


@dataclass(frozen=True)
class Checkpoint:
    """The last round of a stage that counts: what the stage then had, and its record."""

    round: int
    state: GlobalState
    record: Record


class Journal:
    """The run in the folder `out`; close it, or use it in a `with`."""

    def __init__(self, out: Path, study: Study, database: Database, lease: Lease | None = None) -> None:
        self.out, self.study = out, study
        self.requests = Requests(database)
        self._database, self._lease = database, lease

    @classmethod
    def open(
        cls,
        out: Path,
        study: Study,
        resume: bool,
        admitted: Roster | None = None,
        settings: Mapping[str, object] | None = None,
    ) -> Self:
        """Open the folder of a new run, or of one that goes on, to drive it.

        Args:
            admitted: the roster, to be written down.
            settings: the run configuration, to be written down: what a run is submitted with again.
        Raises:
            StudyError: where a new run finds another one, a resumed one another study, or another process drives it.
        """
        lease = Lease.take(out / LOCK)
        try:
            journal = cls(out, study, Database(out / FILE), lease)
        except BaseException:
            lease.release()
            raise
        try:
            journal._begin(resume, admitted, settings or {})
        except BaseException:
            journal.close()
            raise
        return journal

    @classmethod
    def look_into(cls, out: Path) -> Self:
        """Open the journal of a run that some process may be driving. Raises StudyError where there is none."""
        if not (out / FILE).is_file():
            raise StudyError(f"{out}: holds no run of this version; give the folder of one")
        database = Database(out / FILE)
        rows = database.rows("SELECT toml FROM study")
        if not rows:
            database.close()
            raise StudyError(f"{out}: the run has not begun yet; begin it first")
        return cls(out, parse_study(rows[0][0], f"{out}/{FILE}"), database)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the journal; another process may then drive the run."""
        self._database.close()
        if self._lease is not None:
            self._lease.release()
            self._lease = None

    @property
    def run(self) -> str:
        """The run's identifier: 16 hex digits from study, seed and the folder's name, the same on every resume."""
        rows = self._database.rows("SELECT run FROM study")
        return str(rows[0][0]) if rows else _run_of(self.study, self.out)

    @property
    def settings(self) -> dict[str, Any]:
        """The run configuration that the run was last driven with."""
        ((text,),) = self._database.rows("SELECT settings FROM study")
        settings: dict[str, Any] = json.loads(text)
        return settings

    @property
    def registered(self) -> tuple[str, ...]:
        """The sites on the roster, sorted."""
        return tuple(site for (site,) in self._database.rows("SELECT site FROM roster ORDER BY site"))

    @property
    def driven(self) -> bool:
        """Whether some process drives the run now."""
        return self._lease is not None or Lease.is_taken(self.out / LOCK)

    # ---- the plan

    @property
    def planned(self) -> bool:
        """Whether the plan is frozen."""
        return bool(self._database.rows("SELECT id FROM plan"))

    def freeze(self, plan: Plan, greys: Mapping[str, Mapping[Sequence, Greys]]) -> None:
        """Write down the plan and the sites' grey constants: with this the run has begun."""
        sites = SiteGreys(sites={site: dict(greys[site]) for site in sorted(greys)})
        with self._database.writing() as connection:
            connection.execute(
                "INSERT INTO plan (id, plan, greys) VALUES (1, ?, ?)", (plan.model_dump_json(), sites.model_dump_json())
            )
        self._copy_plan()

    def plan(self) -> Plan:
        """Return the frozen plan. Raises ReleaseError where it is damaged."""
        return self._parse("plan", Plan)

    def greys(self) -> dict[str, dict[Sequence, Greys]]:
        """Return the sites' grey constants. Raises ReleaseError where they are damaged."""
        return self._parse("greys", SiteGreys).sites

    # ---- the round that does not count yet

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
        path = self.out / SPOOL / stage.value / str(number) / f"{site}.safetensors"
        blob = save(tensors)
        write_whole(path, blob)
        values = (stage.value, number, site, self._attempt(stage, number), key.global_sha256, _sha256(blob))
        texts = (str(path.relative_to(self.out)), json.dumps(dict(patients)), json.dumps(dict(entry)))
        with self._database.writing() as connection:
            connection.execute("INSERT OR REPLACE INTO updates VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", (*values, *texts))
        return SpooledUpdate(site, path, dict(patients))

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

    def open_round(self) -> tuple[Stage, int, tuple[str, ...]] | None:
        """Return the round that is being played, and whose updates it has; None where every round counts."""
        for stage in self.study.stages.present:
            settings, done = self.study.stages.of(stage), len(self.records(stage))
            if settings is not None and done < settings.rounds:
                query = "SELECT site FROM updates WHERE stage = ? AND round = ? ORDER BY site"
                return stage, done + 1, tuple(site for (site,) in self._database.rows(query, stage.value, done + 1))
        return None

    def take_back(self, stage: Stage, number: int, site: str) -> None:
        """Forget an update that passed alone but did not stand beside the others: it is not accepted after all."""
        with self._database.writing() as connection:
            connection.execute(
                "DELETE FROM updates WHERE stage = ? AND round = ? AND site = ?", (stage.value, number, site)
            )

    def note_fault(self, fault: SiteFault) -> None:
        """Write down a site that failed, when it does; late answers as well."""
        values = (fault.stage and fault.stage.value, fault.round, fault.site, fault.code, now())
        with self._database.writing() as connection:
            connection.execute("INSERT INTO faults (stage, round, site, code, at) VALUES (?, ?, ?, ?, ?)", values)

    def noted_faults(self) -> list[tuple[SiteFault, str]]:
        """Return all faults that were written down with their times, those of rounds that never counted as well."""
        rows = self._database.rows("SELECT site, code, stage, round, at FROM faults ORDER BY id")
        return [(SiteFault(site, code, Stage(stage) if stage else None, n), at) for site, code, stage, n, at in rows]

    # ---- rounds that count

    def commit(self, stage: Stage, number: int, state: GlobalState, record: Record) -> dict[str, Any]:
        """Make a round count: tensors first, then one transaction with their digests, then the copies.

        The server optimiser's moments are kept where there are any. Returns the record with the digests.
        """
        states = {GLOBAL: state.tensors, AVERAGE: state.average.tensors, MOMENTS: state.moments}
        digests: dict[str, str] = {}
        for name in states if state.moments else (GLOBAL, AVERAGE):
            blob = save(states[name])
            write_whole(self._state_path(stage, number, name), blob)
            digests[name] = _sha256(blob)
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

    # ---- the end

    def release(self, digest: str) -> None:
        """Write down that a release stands."""
        with self._database.writing() as connection:
            connection.execute("INSERT OR IGNORE INTO releases VALUES (?, ?)", (digest, now()))

    def releases(self) -> list[str]:
        """Return the digests of the run's releases."""
        return [digest for (digest,) in self._database.rows("SELECT digest FROM releases ORDER BY at, digest")]

    def finish(self, result: RunResult) -> None:
        """Write down how the run ended."""
        tree = asdict(result) | {"out": ".", "release": "release" if result.release else None}
        text = copies.pretty(tree)
        with self._database.writing() as connection:
            connection.execute("INSERT OR REPLACE INTO result VALUES (1, ?)", (text,))
        copies.write_copy(self.out / copies.RESULT, text)
        self.copy_withdrawals()

    def ended(self) -> dict[str, Any] | None:
        """Return what `run.json` says, None before the end."""
        rows = self._database.rows("SELECT result FROM result")
        return json.loads(rows[0][0]) if rows else None

    def withdrawn(self) -> list[dict[str, Any]]:
        """Return who was withdrawn, and which rounds and releases they touched."""
        return [
            {
                "site": entry.site,
                "patients": entry.patients,
                "at": entry.at,
                "rounds": [[stage.value, number] for stage, number in rounds],
                "releases": self.releases() if rounds else [],
            }
            for entry in self.requests.withdrawals()
            for rounds in [self.rounds_of(entry.site) if entry.rounds is None else entry.rounds]
        ]

    def copy_withdrawals(self) -> None:
        """Write `withdrawn.json`, where anybody was."""
        entries = self.withdrawn()
        if entries:
            copies.write_copy(self.out / copies.WITHDRAWN, copies.pretty(entries))

    # ---- within

    def _begin(self, resume: bool, admitted: Roster | None, settings: Mapping[str, object]) -> None:
        begun = self.planned
        if (begun or (self.out / copies.PLAN).is_file()) and not resume:
            raise StudyError(
                f"{self.out}: holds a run already; give --resume to go on with it, or choose another folder"
            )
        if begun:
            self._check_same_study()
        elif (self.out / copies.PLAN).is_file():
            raise StudyError(f"{self.out}: its journal is missing or of another version; choose another folder")
        with self._database.writing() as connection:
            for table in () if begun else ("requests", "withdrawals", "faults", "result"):
                connection.execute(f"DELETE FROM {table}")  # noqa: S608 (names of our own)
            connection.execute(
                "INSERT OR REPLACE INTO study VALUES (1, ?, ?, ?, ?, ?)",
                (
                    _run_of(self.study, self.out),
                    self.study.digest,
                    code_version(),
                    to_toml(self.study),
                    _json(settings),
                ),
            )
            connection.execute("DELETE FROM roster")
            for site, entry in sorted(admitted.sites.items()) if admitted is not None else ():
                connection.execute("INSERT INTO roster VALUES (?, ?, ?)", (site, str(entry.node), entry.signing_key))
        self._copy_all()

    def _check_same_study(self) -> None:
        ((digest, text),) = self._database.rows("SELECT digest, toml FROM study")
        if digest != self.study.digest:
            before = "its study.toml" if text == to_toml(self.study) else "the study"
            raise StudyError(
                f"{self.out}: was begun with another study or code version ({before} differs from now); "
                "resume with the study and the version of then, or choose another folder"
            )

    def _copy_all(self) -> None:
        """Write every copy anew that is missing or torn, and drop updates that no journal knows."""
        copies.write_copy(self.out / copies.STUDY, to_toml(self.study))
        records = self._all_records()
        if self.planned:
            self._copy_plan()
            copies.write_copy(self.out / copies.METRICS, copies.lines(records))
        for record in records:
            self._copy_record(record)
        if not self._database.rows("SELECT site FROM updates LIMIT 1"):
            shutil.rmtree(self.out / SPOOL, ignore_errors=True)

    def _copy_plan(self) -> None:
        copies.write_copy(self.out / copies.PLAN, copies.pretty(self.plan().model_dump(mode="json")))

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

    def _attempt(self, stage: Stage, number: int) -> int:
        query = "SELECT attempts FROM attempts WHERE stage = ? AND round = ?"
        ((attempt,),) = self._database.rows(query, stage.value, number)
        return int(attempt)

    def _state_path(self, stage: Stage, number: int, name: str) -> Path:
        return copies.round_folder(self.out, stage, number) / f"{name}.safetensors"

    def _parse(self, column: str, kind: type[Text]) -> Text:
        rows = self._database.rows(f"SELECT {column} FROM plan")  # noqa: S608 (a name of our own)
        try:
            return kind.model_validate_json(rows[0][0])
        except (IndexError, ValidationError):
            raise ReleaseError(f"{self.out / FILE}: holds no usable {column}; start a new run") from None


def _run_of(study: Study, out: Path) -> str:
    text = f"{study.digest}\n{study.seed}\n{out.resolve().name}"
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _sha256(blob: bytes) -> str:
    return hashlib.sha256(blob).hexdigest()


def _json(tree: Mapping[str, object]) -> str:
    return json.dumps(dict(tree), sort_keys=True)


def _is_whole(path: Path, digest: str) -> bool:
    try:
        return _sha256(path.read_bytes()) == digest
    except OSError:
        return False


def _tensors(path: Path, digest: str) -> StateDict:
    how: str | None = "changed since its round"
    try:
        blob = path.read_bytes()
    except OSError as error:
        blob, how = b"", error.strerror
    if _sha256(blob) != digest:
        raise ReleaseError(f"{path}: cannot be used ({how}); restore it, or start a new run in another folder")
    return load(blob)
