"""One run as MLflow shows it: settings, a number a round and site, what it left behind, how it ended.

What was written is remembered in tags of MLflow's own run, so that a mirror that was broken off goes on; what it writes
twice, it writes with the same values at the same times, which MLflow keeps once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common.records import OK
from common.settings.stages import Stage
from server.journal import Journal, copies
from server.operation.steering import state_of

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

RUN, FOLDER, STUDY, CODE, ROUNDS, FILES, STATE = (
    f"gliofed.{name}" for name in ("run", "folder", "study", "code", "rounds", "files", "state")
)
BATCH = 900
"""Numbers that one request carries at most; MLflow takes a thousand."""
STATES = {"complete": "FINISHED", "incomplete": "FAILED", "failed": "FAILED"}
LEFT_BEHIND = ("study.toml", "plan.json", "run.json", "withdrawn.json", "assessment.json", "report.html")
"""Files of a run that people read; tensors stay where they are."""


@dataclass(frozen=True)
class Number:
    """One number of a round: its name, its value, the round, and when the round was written down, in ms."""

    name: str
    value: float
    round: int
    at_ms: int


def mirror_run(client: MlflowClient, journal: Journal) -> int:
    """Bring MLflow's picture of a run up to date; return how many numbers were written."""
    run = run_in_mlflow(client, journal.run) or _create(client, journal)
    identifier, written = run.info.run_id, 0
    for stage in journal.study.stages.present:
        records = journal.records(stage)
        done = int(run.data.tags.get(f"{ROUNDS}.{stage.value}", 0))
        for record in records[done:]:
            written += _log(client, identifier, numbers_of(record, _at_ms(journal.out, record)))
            client.set_tag(identifier, f"{ROUNDS}.{stage.value}", record["round"])
    _mirror_files(client, run, [journal.out / name for name in LEFT_BEHIND])
    _mirror_state(client, run, journal)
    return written


def run_in_mlflow(client: MlflowClient, run: str) -> Run | None:
    """Return MLflow's run that mirrors the run of this identifier."""
    experiments = [each.experiment_id for each in client.search_experiments()]
    found = client.search_runs(experiments, f"tags.`{RUN}` = '{run}'", max_results=1) if experiments else []
    return found[0] if found else None


def numbers_of(record: Mapping[str, Any], at_ms: int) -> Iterator[Number]:
    """Yield the numbers of a round: means over sites, and each site's own behind its name."""
    stage, number = record["stage"], record["round"]

    def named(name: str, value: float, site: str | None = None) -> Number:
        return Number("/".join(filter(None, (stage, name, site))), float(value), number, at_ms)

    answered = [site for site, entry in record["sites"].items() if entry["code"] == OK]
    yield named("sites", len(answered))
    yield named("alarms", len(record.get("alarms", ())))
    yield named("seconds", record["seconds"])
    for name, value in record["metrics"].items():
        yield named(name, value)
    for site, entry in record["sites"].items():
        for name, value in entry.get("metrics", {}).items():
            yield named(name, value, site)
        for name in ("bytes_up", "bytes_down", "seconds"):
            if name in entry:
                yield named(name, entry[name], site)
        if "spent" in entry:
            yield named("epsilon", entry["spent"]["stage_epsilon"], site)


def _create(client: MlflowClient, journal: Journal) -> Run:
    """Begin MLflow's run, in the experiment of the study's name."""
    study = journal.study
    tags = {RUN: journal.run, FOLDER: journal.out.name, STUDY: journal.study_digest, CODE: journal.code_version}
    run = client.create_run(_experiment(client, study.name), run_name=journal.out.name, tags=tags)
    settings = {"size": study.size, "seed": study.seed, "sites": ", ".join(study.sites)}
    for stage in study.stages.present:
        of_stage = study.stages.of(stage)
        for name in ("rounds", "local_steps", "batch_size", "learning_rate"):
            settings[f"{stage.value}.{name}"] = getattr(of_stage, name)
    for name, value in settings.items():
        client.log_param(run.info.run_id, name, value)
    return run


def _experiment(client: MlflowClient, name: str) -> str:
    found = client.get_experiment_by_name(name)
    if found is None:
        return str(client.create_experiment(name))
    if found.lifecycle_stage != "active":
        client.restore_experiment(found.experiment_id)
    return str(found.experiment_id)


def _log(client: MlflowClient, run: str, numbers: Iterable[Number]) -> int:
    from mlflow.entities import Metric

    metrics = [Metric(each.name, each.value, each.at_ms, each.round) for each in numbers]
    for first in range(0, len(metrics), BATCH):
        client.log_batch(run, metrics=metrics[first : first + BATCH])
    return len(metrics)


def _at_ms(out: Path, record: Mapping[str, Any]) -> int:
    """Return when a round was written down, by the copy of its record; 0 where that is gone."""
    copy = copies.round_folder(out, Stage(record["stage"]), record["round"]) / copies.RECORD
    return int(copy.stat().st_mtime * 1000) if copy.is_file() else 0


def _mirror_files(client: MlflowClient, run: Run, paths: Iterable[Path]) -> None:
    """Hand over the files that are there, where any of them has changed."""
    there = [path for path in paths if path.is_file()]
    digest = hashlib.sha256(b"".join(hashlib.sha256(path.read_bytes()).digest() for path in there)).hexdigest()
    if there and run.data.tags.get(FILES) != digest:
        for path in there:
            client.log_artifact(run.info.run_id, str(path))
        client.set_tag(run.info.run_id, FILES, digest)


def _mirror_state(client: MlflowClient, run: Run, journal: Journal) -> None:
    control, ended = journal.requests.asked(), journal.ended()
    state = state_of(journal.driven, control.paused, control.stopped, ended)
    wanted = "KILLED" if control.stopped and state == "incomplete" else STATES.get(state, "RUNNING")
    if run.info.status != wanted:
        if wanted == "RUNNING":
            client.update_run(run.info.run_id, status=wanted)
        else:
            client.set_terminated(run.info.run_id, wanted)
    if run.data.tags.get(STATE) != state:
        client.set_tag(run.info.run_id, STATE, state)
