"""What a site reaches by itself: the study's generator and segmenter, trained on its own patients alone, never sent.

Rounds, steps, rates and moving average are those of the federation, of which this is the case of one site; an optimiser
of the coordinator has no part in it. A killed training begins anew, and ends in the same weights.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace

from safetensors.torch import save
from torch import nn

from client.compilation import make_ready
from client.data.dataset import CaseStore
from client.site import Site
from client.training.tasks import Bench, fresh_model, state_of, train_locally
from client.training.trainer import NothingToTrainError
from common.assessment.request import AssessmentRequest
from common.errors import StudyError
from common.logs import logger
from common.moving_average import start
from common.parameters import StateDict, grouping_of
from common.plan import Plan
from common.records import Task
from common.settings.stages import Stage

ALONE = (Stage.GENERATOR, Stage.SEGMENTER)
"""The stages that a site repeats by itself; the others would take the whole study once more."""

log = logger(__name__)


def alone_plan(plan: Plan, site: str) -> Plan:
    """Return the plan of a consortium of `site` alone."""
    return Plan(study_digest=plan.study_digest, inventory=tuple(each for each in plan.inventory if each.site == site))


def train_alone(site: Site, request: AssessmentRequest, training: CaseStore, bench: Bench) -> Mapping[Stage, nn.Module]:
    """Return the networks that `site` trains on `training`, frozen; a stage it has nothing to learn from is left out.

    Raises:
        StudyError: where the generator itself cannot be trained, without which nothing can be filled.
    """
    own = replace(site, training=training, held_out=CaseStore((), training.sequences))
    run = hashlib.sha256(f"{request.run} {site.name} alone {request.digest}".encode()).hexdigest()[:16]
    plan, earlier, models = alone_plan(request.plan, site.name), dict[Stage, str](), dict[Stage, nn.Module]()
    for stage in (stage for stage in ALONE if stage in request.weights):
        task = Task(
            run=run,
            stage=stage,
            round=1,
            global_sha256=request.digest,
            study=request.study,
            study_digest=request.study_digest,
            plan=plan,
            earlier=earlier,
        )
        try:
            tensors = _rounds(own, task, bench)
        except NothingToTrainError as error:
            log.warning("site alone: %s is left out: %s", stage, error)
            continue
        blob = save(tensors)
        earlier[stage] = hashlib.sha256(blob).hexdigest()
        state_of(site, task).held.keep(tensors, earlier[stage])
        models[stage] = _frozen(task, tensors, site, bench)
    if Stage.GENERATOR not in models:
        raise StudyError(f"{site.name} has nothing to train a generator on by itself")
    return models


def _rounds(site: Site, task: Task, bench: Bench) -> StateDict:
    """Play all rounds of a stage at one site and return the averaged tensors."""
    settings = task.study.stages.of(task.stage)
    if settings is None:
        raise StudyError(f"the study has no stage {task.stage}")
    first = fresh_model(task, bench)
    tensors, grouping = {name: tensor.clone() for name, tensor in first.state_dict().items()}, grouping_of(first)
    average = start(tensors)
    for number in range(1, settings.rounds + 1):
        model = fresh_model(task, bench)
        model.load_state_dict(tensors)
        update = train_locally(site, task.model_copy(update={"round": number}), model, bench)
        tensors, trained = update.tensors, set(update.patients)
        average = average.moved(tensors, trained, settings.ema_decay, settings.local_steps, grouping)
    return average.tensors


def _frozen(task: Task, tensors: StateDict, site: Site, bench: Bench) -> nn.Module:
    model = fresh_model(task, bench)
    model.load_state_dict(tensors)
    make_ready(model, bench.device, site.hardware.compile)
    return model.eval().requires_grad_(False)
