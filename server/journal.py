"""What a run has on disk: plan, a checkpoint and a line of metrics after each round; whole, or not at all.

A round counts once its `round.json` stands: it is written last and names the digests of the tensors beside it.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from safetensors.torch import load, save

from common.errors import ReleaseError, StudyError
from common.files import write_whole
from common.moving_average import MovingAverage
from common.parameters import StateDict
from common.plan import Plan
from common.records import NOTHING_TO_TRAIN, OK, Greys
from common.sequences import Sequence
from common.settings.frozen import Frozen
from common.settings.stages import Stage
from common.study import Study, load_study
from server.aggregation.global_state import GlobalState
from server.result import RunResult, SiteFault
from server.study_text import to_toml

KEPT_ROUNDS = 2
"""Rounds of a stage whose tensors stay on disk; the records of all rounds do."""

STUDY, PLAN, METRICS, RESULT = "study.toml", "plan.json", "metrics.jsonl", "run.json"
Text = TypeVar("Text", bound=BaseModel)

GLOBAL, AVERAGE, MOMENTS, RECORD = "global.safetensors", "ema.safetensors", "moments.safetensors", "round.json"


class SiteGreys(Frozen):
    """The grey constants that the sites answered."""

    sites: dict[str, dict[Sequence, Greys]]


@dataclass(frozen=True)
class Checkpoint:
    """The last round of a stage that counts: what the stage then had, and its record."""

    round: int
    state: GlobalState
    record: Mapping[str, Any]


class Journal:
    """The run's folder `out`."""

    def __init__(self, out: Path, study: Study) -> None:
        self.out = out
        self.study = study

    @classmethod
    def open(cls, out: Path, study: Study, resume: bool) -> Journal:
        """Open the folder of a new run, or of one that goes on.

        Raises:
            StudyError: where a new run finds another one, or a resumed one another study.
        """
        journal = cls(out, study)
        begun = (out / PLAN).is_file()
        if begun and not resume:
            raise StudyError(f"{out}: holds a run already; give --resume to go on with it, or choose another folder")
        if begun and journal.plan().study_digest != study.digest:
            before = "its study.toml" if load_study(out / STUDY) == study else "the study"
            raise StudyError(
                f"{out}: was begun with another study or code version ({before} differs from now); "
                "resume with the study and the version of then, or choose another folder"
            )
        shutil.rmtree(out / "journal" / "spool", ignore_errors=True)
        if begun:
            journal._rebuild_metrics()
        else:
            write_whole(out / STUDY, to_toml(study).encode())
        return journal

    @property
    def run(self) -> str:
        """The run's identifier: 16 hex digits from study, seed and the folder's name, the same on every resume."""
        text = f"{self.study.digest}\n{self.study.seed}\n{self.out.resolve().name}"
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    # ---- the plan

    @property
    def planned(self) -> bool:
        """Whether the plan is frozen."""
        return (self.out / PLAN).is_file()

    def freeze(self, plan: Plan, greys: Mapping[str, Mapping[Sequence, Greys]]) -> None:
        """Write the plan and the sites' grey constants; the plan last, for it marks that the run has begun."""
        sites = SiteGreys(sites={site: dict(greys[site]) for site in sorted(greys)})
        write_whole(self.out / "journal" / "greys.json", _pretty(sites.model_dump(mode="json")))
        write_whole(self.out / PLAN, _pretty(plan.model_dump(mode="json")))

    def plan(self) -> Plan:
        """Return the frozen plan. Raises ReleaseError where it is damaged."""
        return self._parse(self.out / PLAN, Plan)

    def greys(self) -> dict[str, dict[Sequence, Greys]]:
        """Return the sites' grey constants. Raises ReleaseError where they are damaged."""
        return self._parse(self.out / "journal" / "greys.json", SiteGreys).sites

    # ---- rounds

    def spool(self, stage: Stage, number: int, site: str, tensors: StateDict) -> Path:
        """Keep an accepted update on disk until the round is aggregated."""
        path = self.out / "journal" / "spool" / stage.value / str(number) / f"{site}.safetensors"
        write_whole(path, save(tensors))
        return path

    def commit(self, stage: Stage, number: int, state: GlobalState, record: Mapping[str, Any]) -> dict[str, Any]:
        """Make a round count: tensors, then the record with their digests (returned), then a line of metrics.

        The server optimiser's moments are written where there are any.
        """
        folder = self._round(stage, number)
        full = {**record, "average_steps": state.average.steps}
        files = [(GLOBAL, "global_sha256", state.tensors), (AVERAGE, "average_sha256", state.average.tensors)]
        files += [(MOMENTS, "moments_sha256", state.moments)] if state.moments else []
        for name, key, tensors in files:
            blob = save(tensors)
            write_whole(folder / name, blob)
            full[key] = hashlib.sha256(blob).hexdigest()
        write_whole(folder / RECORD, _pretty(full))
        with (self.out / METRICS).open("a", encoding="utf-8") as file:
            file.write(_line(full))
        shutil.rmtree(self.out / "journal" / "spool", ignore_errors=True)
        for old in range(1, number - KEPT_ROUNDS + 1):
            for name in (GLOBAL, AVERAGE, MOMENTS):
                (self._round(stage, old) / name).unlink(missing_ok=True)
        return full

    def records(self, stage: Stage) -> list[dict[str, Any]]:
        """Return the records of a stage's rounds that count, in order."""
        found: list[dict[str, Any]] = []
        while (path := self._round(stage, len(found) + 1) / RECORD).is_file():
            found.append(self._read(path))
        return found

    def faults(self, stage: Stage) -> list[SiteFault]:
        """Return the sites that were asked in a stage's rounds that count, and failed."""
        return [
            SiteFault(site, entry["code"], stage, record["round"])
            for record in self.records(stage)
            for site, entry in record["sites"].items()
            if entry["code"] not in (OK, NOTHING_TO_TRAIN)
        ]

    def last(self, stage: Stage) -> Checkpoint | None:
        """Return the last round that counts, None before the first. Raises ReleaseError where it is damaged."""
        records = self.records(stage)
        if not records:
            return None
        record, number = records[-1], len(records)
        folder = self._round(stage, number)
        tensors = self._tensors(folder / GLOBAL, record["global_sha256"])
        average = MovingAverage(self._tensors(folder / AVERAGE, record["average_sha256"]), record["average_steps"])
        moments = self._tensors(folder / MOMENTS, record["moments_sha256"]) if "moments_sha256" in record else {}
        return Checkpoint(number, GlobalState(tensors, average, moments), record)

    def weights(self, stage: Stage) -> Path:
        """Return the file of a finished stage's averaged weights: what is released."""
        return self._round(stage, len(self.records(stage))) / AVERAGE

    # ---- the end

    def finish(self, result: RunResult) -> None:
        """Write how the run ended."""
        tree = asdict(result) | {"out": ".", "release": "release" if result.release else None}
        write_whole(self.out / RESULT, _pretty(tree))

    def _round(self, stage: Stage, number: int) -> Path:
        return self.out / "rounds" / stage.value / str(number)

    def _rebuild_metrics(self) -> None:
        """Write metrics.jsonl anew from the rounds that count: a killed coordinator may have torn its last line."""
        lines = [_line(record) for stage in self.study.stages.present for record in self.records(stage)]
        write_whole(self.out / METRICS, "".join(lines).encode())

    def _read(self, path: Path) -> dict[str, Any]:
        try:
            tree: dict[str, Any] = json.loads(path.read_bytes())
        except (OSError, ValueError) as error:
            raise _damaged(path, type(error).__name__) from None
        return tree

    def _parse(self, path: Path, kind: type[Text]) -> Text:
        try:
            return kind.model_validate(self._read(path))
        except ValidationError:
            raise _damaged(path, "not as written") from None

    def _tensors(self, path: Path, digest: str) -> StateDict:
        try:
            blob = path.read_bytes()
        except OSError as error:
            raise _damaged(path, error.strerror) from None
        if hashlib.sha256(blob).hexdigest() != digest:
            raise _damaged(path, "changed since its round")
        return load(blob)


def _damaged(path: Path, how: str | None) -> ReleaseError:
    return ReleaseError(f"{path}: cannot be used ({how}); restore it, or start a new run in another folder")


def _pretty(tree: Any) -> bytes:
    return (json.dumps(tree, sort_keys=True, indent=1) + "\n").encode()


def _line(record: Mapping[str, Any]) -> str:
    return json.dumps(record, sort_keys=True, separators=(",", ":")) + "\n"
