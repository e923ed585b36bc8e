"""Answers to a task: the update of one round, trained once and kept until it has been taken."""

from __future__ import annotations

from flwr.app import Context, Message, RecordDict
from torch import nn

from client.answers.opened import OpenedSites
from client.answers.packed_update import check_covered, pack_update
from client.answers.received import begins_from, take_in
from client.answers.secure_sum import NOTHING_MAY_LEAVE, advertise
from client.answers.site_file import site_file
from client.config import load_site
from client.privacy.withdrawal import note_participation, withdrawn_from
from client.site import Site
from client.stopping import refuse_if_stopped
from client.training.starting_point import check_task
from client.training.tasks import Bench, fresh_model, state_of, train_locally
from client.training.update import LocalUpdate
from common.frozen_message import freeze, thaw
from common.records import ANSWER, NEEDS_TENSORS, TASK, Answer, Task, pack_text, read_text, size_bytes


def answer_task(message: Message, context: Context, opened: OpenedSites, bench: Bench) -> RecordDict:
    """Answer with the update that was kept for this very task, or train; refuse where the run was stopped."""
    task = read_text(message.content, TASK, Task)
    config = load_site(site_file(context))
    refuse_if_stopped(config.workdir, task.run)
    site = opened.get(context, task.study, task.study_digest, size_bytes(message.content))
    state, model = state_of(site, task), fresh_model(task, bench)
    check_task(site.name, task, model)
    take_in(message.content, state.held, task, model, bench)
    finished = state.kept.find(task, site.cohort)
    if finished is not None:
        content = thaw(finished)
        check_covered(content, site, task)
        return content
    received = begins_from(task, state, model)
    if received is None:
        lacking = Answer(site=site.name, code=NEEDS_TENSORS, holds=state.held.digests())
        return RecordDict({ANSWER: pack_text(lacking)})
    if task.study.privacy.covers(task.stage) and state.kept.has_under_another_policy(task, site.cohort):
        # training it once more would spend the patients' privacy twice
        return RecordDict({ANSWER: pack_text(Answer(site=site.name, code=NOTHING_MAY_LEAVE))})
    model.load_state_dict(received, strict=False)
    if task.study.secure_aggregation.enabled:
        norms = state.norms_begun_with(task)
        return advertise(message.content, config, site, task, norms, lambda: _train(site, task, model, bench))
    withdrawn = withdrawn_from(site.workdir, task.run)  # before the round: whoever goes while it trains is in it
    answer = pack_update(site, task, withdrawn, _train(site, task, model, bench), received)
    state.kept.keep(task, site.cohort, freeze(answer))
    return answer


def _train(site: Site, task: Task, model: nn.Module, bench: Bench) -> LocalUpdate:
    """Train, and write down whose patients were in it."""
    update = train_locally(site, task, model, bench)
    note_participation(site.workdir, task.run, task.stage, task.round, site.patients)
    return update
