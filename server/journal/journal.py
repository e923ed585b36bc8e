"""The journal of a run: what was planned, accepted and counted. It survives the coordinator's death at any instant.

`<out>/journal/journal.sqlite` decides; tensors lie beside it as safetensors, written aside, flushed and renamed before
the transaction that names their digest. Everything else that a run leaves is a copy, made again when it is resumed.
"""

from __future__ import annotations

import json
import secrets
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self, TypeVar

from pydantic import ValidationError

from common.errors import ReleaseError, StudyError
from common.plan import Plan
from common.records import Greys
from common.roster_file import Roster
from common.sequences import Sequence
from common.settings.frozen import Frozen
from common.settings.stages import Stage
from common.study import Study, code_version, parse_study
from server.journal import copies
from server.journal.database import Database
from server.journal.endings import Endings
from server.journal.lease import Lease
from server.journal.open_round import SPOOL, OpenRounds, spooled
from server.study_text import to_toml

FILE, LOCK = "journal/journal.sqlite", "journal/driver.lock"
Text = TypeVar("Text", bound=Frozen)


class NotBegunError(StudyError):
    """The folder holds no run, or one that nobody has begun to drive."""


class SiteGreys(Frozen):
    """The grey constants that the sites answered."""

    sites: dict[str, dict[Sequence, Greys]]


class Journal(OpenRounds, Endings):
    """The run in the folder `out`; close it, or use it in a `with`."""

    def __init__(self, out: Path, study: Study, database: Database, lease: Lease | None = None) -> None:
        super().__init__(out, study, database)
        self._lease = lease

    @classmethod
    def open(
        cls,
        out: Path,
        study: Study,
        resume: bool,
        admitted: Roster | None = None,
        settings: Mapping[str, object] | None = None,
        run: str | None = None,
    ) -> Self:
        """Open the folder of a new run, or of one that goes on, to drive it.

        Args:
            admitted: the roster, to be written down.
            settings: the run configuration, to be written down: what a run is submitted with again.
            run: identifier of a new run, 16 hex digits; drawn unless given. One that goes on keeps its own.
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
            journal._begin(resume, admitted, settings or {}, run or secrets.token_hex(8))
        except BaseException:
            journal.close()
            raise
        return journal

    @classmethod
    def look_into(cls, out: Path) -> Self:
        """Open the journal of a run that some process may be driving. Raises NotBegunError where there is none."""
        if not (out / FILE).is_file():
            raise NotBegunError(f"{out}: holds no run of this version; give the folder of one")
        database = Database(out / FILE)
        rows = database.rows("SELECT toml FROM study")
        if not rows:
            database.close()
            raise NotBegunError(f"{out}: the run has not begun yet; begin it first")
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
        """The run's identifier: 16 hex digits, drawn when it began, the same on every resume and in whatever folder."""
        ((run,),) = self._database.rows("SELECT run FROM study")
        return str(run)

    @property
    def study_digest(self) -> str:
        """The study's digest under the code that the run was last driven with, which need not be this code."""
        return str(self._database.rows("SELECT digest FROM study")[0][0])

    @property
    def code_version(self) -> str:
        """The code that the run was last driven with."""
        return str(self._database.rows("SELECT code_version FROM study")[0][0])

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

    # ---- what counts

    def open_round(self) -> tuple[Stage, int, tuple[str, ...]] | None:
        """Return the round that is being played, and whose updates it has; None where every round counts."""
        for stage in self.study.stages.present:
            settings, done = self.study.stages.of(stage), len(self.records(stage))
            if settings is not None and done < settings.rounds:
                query = "SELECT site FROM updates WHERE stage = ? AND round = ? ORDER BY site"
                return stage, done + 1, tuple(site for (site,) in self._database.rows(query, stage.value, done + 1))
        return None

    # ---- within

    def _begin(self, resume: bool, admitted: Roster | None, settings: Mapping[str, object], run: str) -> None:
        begun, known = self.planned, resume and bool(self._database.rows("SELECT id FROM study"))
        if (begun or (self.out / copies.PLAN).is_file()) and not resume:
            raise StudyError(
                f"{self.out}: holds a run already; give --resume to go on with it, or choose another folder"
            )
        if known:
            self._check_same_study()
        if not begun and (self.out / copies.PLAN).is_file():
            raise StudyError(f"{self.out}: its journal is missing or of another version; choose another folder")
        with self._database.writing() as connection:
            for table in () if known else ("requests", "withdrawals", "faults", "result"):
                connection.execute(f"DELETE FROM {table}")  # noqa: S608 (names of our own)
            if known:
                connection.execute("UPDATE study SET settings = ?", (_json(settings),))
            else:
                values = (run, self.study.digest, code_version(), to_toml(self.study), _json(settings))
                connection.execute("INSERT OR REPLACE INTO study VALUES (1, ?, ?, ?, ?, ?)", values)
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
        """Write every copy anew that is missing or torn; drop updates that no journal knows or that were summed."""
        copies.write_copy(self.out / copies.STUDY, to_toml(self.study))
        records = self._all_records()
        if self.planned:
            self._copy_plan()
            copies.write_copy(self.out / copies.METRICS, copies.lines(records))
        for record in records:
            self._copy_record(record)
            shutil.rmtree(spooled(self.out, Stage(record["stage"]), record["round"]), ignore_errors=True)
        if not self._database.rows("SELECT site FROM updates LIMIT 1"):
            shutil.rmtree(self.out / SPOOL, ignore_errors=True)

    def _copy_plan(self) -> None:
        copies.write_copy(self.out / copies.PLAN, copies.pretty(self.plan().model_dump(mode="json")))

    def _parse(self, column: str, kind: type[Text]) -> Text:
        rows = self._database.rows(f"SELECT {column} FROM plan")  # noqa: S608 (a name of our own)
        try:
            return kind.model_validate_json(rows[0][0])
        except (IndexError, ValidationError):
            raise ReleaseError(f"{self.out / FILE}: holds no usable {column}; start a new run") from None


def _json(tree: Mapping[str, object]) -> str:
    return json.dumps(dict(tree), sort_keys=True)
