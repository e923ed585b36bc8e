"""Patients who were withdrawn at a site, and the rounds in which they may have had a part. Neither list ever leaves."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Literal, TypeVar

from pydantic import Field, ValidationError

from common.errors import DataError
from common.files import write_whole
from common.settings.frozen import Frozen
from common.settings.stages import Stage

Kind = TypeVar("Kind", bound=Frozen)

FILE, ROUNDS_FOLDER = "withdrawn.json", "participation"


class Withdrawn(Frozen):
    """`<workdir>/withdrawn.json`: the keys of withdrawn patients."""

    schema_version: Literal[1] = 1
    patients: tuple[str, ...] = ()


class RoundTaken(Frozen):
    """One round that was trained; `cohort` is the position of its patients in the list of cohorts."""

    stage: Stage
    round: Annotated[int, Field(ge=1)]
    cohort: Annotated[int, Field(ge=0)]


class Participation(Frozen):
    """`<workdir>/participation/<run>.json`: which patients each round of a run could draw from or was scored on."""

    schema_version: Literal[1] = 1
    cohorts: tuple[tuple[str, ...], ...] = ()
    rounds: tuple[RoundTaken, ...] = ()

    def rounds_of(self, patient: str) -> list[tuple[Stage, int]]:
        """Return the rounds in which a patient may have had a part."""
        return [(taken.stage, taken.round) for taken in self.rounds if patient in self.cohorts[taken.cohort]]


def withdrawn_patients(workdir: Path) -> frozenset[str]:
    """Return the keys of the patients who were withdrawn. Raises DataError where the list cannot be read."""
    return frozenset(_read(workdir / FILE, Withdrawn).patients)


def withdraw_patient(workdir: Path, patient: str) -> None:
    """Leave a patient out of every round that is begun from now on."""
    patients = withdrawn_patients(workdir) | {patient}
    write_whole(workdir / FILE, Withdrawn(patients=tuple(sorted(patients))).model_dump_json(indent=1).encode())


def note_participation(workdir: Path, run: str, stage: Stage, number: int, patients: Iterable[str]) -> None:
    """Write down whom a round could draw from, before its update leaves."""
    before, cohort = participation(workdir, run), tuple(sorted(patients))
    cohorts = before.cohorts if cohort in before.cohorts else (*before.cohorts, cohort)
    rounds = (*before.rounds, RoundTaken(stage=stage, round=number, cohort=cohorts.index(cohort)))
    after = Participation(cohorts=cohorts, rounds=rounds)
    write_whole(_file(workdir, run), after.model_dump_json(indent=1).encode())


def participation(workdir: Path, run: str) -> Participation:
    """Return whom the rounds of a run could draw from. Raises DataError where the record cannot be read."""
    return _read(_file(workdir, run), Participation)


def runs_of(workdir: Path, patient: str) -> dict[str, list[tuple[Stage, int]]]:
    """Return the runs and rounds in which a patient may have had a part."""
    runs = sorted(path.stem for path in (workdir / ROUNDS_FOLDER).glob("*.json"))
    found = {run: participation(workdir, run).rounds_of(patient) for run in runs}
    return {run: rounds for run, rounds in found.items() if rounds}


def withdrawn_from(workdir: Path, run: str) -> int:
    """Return how many withdrawn patients may have had a part in a run: the count that the coordinator learns."""
    took_part = {patient for cohort in participation(workdir, run).cohorts for patient in cohort}
    return len(took_part & withdrawn_patients(workdir))


def _file(workdir: Path, run: str) -> Path:
    return workdir / ROUNDS_FOLDER / f"{run}.json"


def _read(path: Path, kind: type[Kind]) -> Kind:
    try:
        return kind.model_validate(json.loads(path.read_bytes())) if path.is_file() else kind()
    except (OSError, ValueError, ValidationError):
        raise DataError(
            f"{path}: cannot be read; restore it from a backup, or withdrawn patients would be used"
        ) from None
