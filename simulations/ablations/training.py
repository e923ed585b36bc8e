"""Federated training of one stage without a network between: the sites' own rounds, the coordinator's own sums."""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from safetensors import safe_open
from safetensors.torch import load_file, save, save_file
from torch import nn

from client.training.tasks import Bench, fresh_model, state_of, train_locally
from client.training.trainer import NothingToTrainError
from common.errors import StudyError
from common.files import write_whole
from common.moving_average import start
from common.nets.stage_models import build_model
from common.parameters import LOCAL, Grouping, StateDict, group_of, grouping_of
from common.records import Task
from common.seeding import torch_generator
from common.settings.stages import Stage
from common.study import Study
from common.wire.digest import digest_of
from server.aggregation.groupwise import aggregate
from server.aggregation.weighted import SpooledUpdate
from simulations.ablations.phantoms import Phantoms

OnRound = Callable[[int, int], None]
SECONDS = "seconds"


@dataclass(frozen=True)
class Trained:
    """A stage's averaged weights, as a release would hold them, in a file that tells how long they took."""

    stage: Stage
    path: Path

    @property
    def tensors(self) -> StateDict:
        """The weights."""
        return load_file(self.path)

    @property
    def seconds(self) -> float:
        """How long the training took, on one thread of a machine that may have had other work."""
        with safe_open(self.path, framework="pt") as file:
            return float(file.metadata()[SECONDS])

    def model(self, study: Study, phantoms: Phantoms) -> nn.Module:
        """Return the network with these weights, in evaluation mode."""
        domains = phantoms.plan.domains(study)
        model = build_model(self.stage, study, domains, torch_generator(study.seed, "initial", self.stage.value))
        model.load_state_dict(self.tensors)
        return model.eval().requires_grad_(False)


def train_stage(
    study: Study, stage: Stage, phantoms: Phantoms, earlier: Mapping[Stage, Trained], folder: Path, on_round: OnRound
) -> Trained:
    """Train `stage` over all sites for the study's rounds, or find it trained.

    The sites train one after the other by the very function that a hospital calls; updates are summed and averaged by
    the coordinator's. Only messages, gate and journal are left out.

    Args:
        study: what is trained.
        stage: one of the study's.
        phantoms: the sites.
        earlier: the trained stages that it builds on.
        folder: where the averaged weights go, under a name of their own for these settings.
        on_round: hears (rounds done, rounds in all).
    Raises:
        StudyError: where the study lacks the stage, or no site can train it.
    """
    settings = study.stages.of(stage)
    if settings is None:
        raise StudyError(f"the study has no stage {stage}")
    began, path = time.perf_counter(), folder / f"{stage}-{study.seed}-{settings_key(study, stage)}.safetensors"
    if path.is_file():
        return Trained(stage, path)
    run = hashlib.sha256(f"{study.digest} {stage} {path.stem}".encode()).hexdigest()[:16]
    digests = {before: digest_of(trained.tensors) for before, trained in earlier.items()}
    tasks = [
        Task(run=run, stage=stage, round=number, global_sha256=run * 4, study=study, study_digest=study.digest,
             plan=phantoms.plan, earlier=digests)
        for number in range(1, settings.rounds + 1)
    ]  # fmt: skip
    for site in phantoms.sites.values():
        shutil.rmtree(state_of(site, tasks[0]).folder, ignore_errors=True)
        for before, trained in earlier.items():
            state_of(site, tasks[0]).held.keep(trained.tensors, digests[before])
    grouping = grouping_of(fresh_model(tasks[0], Bench()))
    tensors = {name: tensor.clone() for name, tensor in fresh_model(tasks[0], Bench()).state_dict().items()}
    average = start(tensors)
    for task in tasks:
        with TemporaryDirectory() as spool:
            updates = _play(task, phantoms, tensors, grouping, Path(spool))
            if not updates:
                raise StudyError(f"{stage}: no site has anything to learn from")
            trained_groups = {group for update in updates for group in update.patients}
            tensors = aggregate(tensors, updates, study.federation.weight_cap_patients, grouping)
        average = average.moved(tensors, trained_groups, settings.ema_decay, settings.local_steps, grouping)
        on_round(task.round, settings.rounds)
    for site in phantoms.sites.values():
        shutil.rmtree(state_of(site, tasks[0]).folder, ignore_errors=True)
    write_whole(path, save(average.tensors, {SECONDS: f"{time.perf_counter() - began:.1f}"}))
    return Trained(stage, path)


def settings_key(study: Study, stage: Stage | None = None) -> str:
    """Return a short digest of the study's settings, of those alone that `stage` and the stages before it depend on."""
    tree = study.model_dump(mode="json", exclude={"name"})
    if stage is not None:
        order = [each.value for each in Stage]
        needed = order[: order.index(stage.value) + 1]
        tree["stages"] = {name: settings for name, settings in tree["stages"].items() if name in needed and settings}
    return hashlib.sha256(json.dumps(tree, sort_keys=True).encode()).hexdigest()[:12]


def _play(task: Task, phantoms: Phantoms, tensors: StateDict, grouping: Grouping, folder: Path) -> list[SpooledUpdate]:
    """Train every site for one round and spool what it would send."""
    updates = []
    for name, site in phantoms.sites.items():
        model = fresh_model(task, Bench())
        model.load_state_dict(tensors)
        try:
            update = train_locally(site, task, model, Bench())
        except NothingToTrainError:
            continue
        sent = {
            key: tensor.contiguous()
            for key, tensor in update.tensors.items()
            if group_of(key, grouping) != LOCAL and group_of(key, grouping) in update.patients
        }
        save_file(sent, folder / f"{name}.safetensors")
        updates.append(SpooledUpdate(name, folder / f"{name}.safetensors", update.patients))
    return updates
