"""An update as it travels: what policy and plan let out of it, in the study's coding."""

from __future__ import annotations

from flwr.app import ArrayRecord, MetricRecord, RecordDict

from client.privacy.outbound import allow_update, check_kept
from client.site import Site
from client.training.coded_update import code_update, keep_residuals, load_residuals
from client.training.tasks import SiteState, state_of
from client.training.update import LocalUpdate
from common.approval.study_plan import Leaving
from common.parameters import Grouping, StateDict
from common.records import (
    ANSWER,
    METRICS,
    UPDATE,
    Answer,
    Task,
    arrays_of,
    declare,
    join_arrays,
    pack_coded,
    pack_tensors,
    pack_text,
    read_metrics,
)
from common.wire.selection import coding_of


def pack_update(site: Site, task: Task, withdrawn: int, update: LocalUpdate, received: StateDict) -> RecordDict:
    """Return the answer to a task.

    Args:
        withdrawn: patients of the run who were withdrawn before it trained.
        received: what the site started from.
    """
    outgoing = allow_update(update, site.name, site.policy, task.study, task.plan, _leaving(site, task))
    answer = Answer(
        site=site.name,
        run=task.run,
        stage=task.stage,
        round=task.round,
        global_sha256=task.global_sha256,
        patients=outgoing.patients,
        withheld=outgoing.withheld,
        withdrawn=withdrawn,
        spent=outgoing.spent,
    )
    return RecordDict(
        {
            ANSWER: pack_text(answer),
            UPDATE: _coded(outgoing.tensors, received, task, state_of(site, task), update.grouping),
            METRICS: MetricRecord(outgoing.metrics),  # type: ignore[arg-type]
        }
    )


def check_covered(content: RecordDict, site: Site, task: Task) -> None:
    """Raise NotCoveredError where the plan that is approved now does not let all of a kept answer leave."""
    arrays = arrays_of(content, UPDATE)
    forms = {name: (array.dtype, tuple(array.shape)) for name, array in arrays.items()}
    check_kept(forms, read_metrics(content), _leaving(site, task))


def _leaving(site: Site, task: Task) -> Leaving | None:
    return None if site.approved is None else site.approved.leaving(task.stage)


def _coded(tensors: StateDict, received: StateDict, task: Task, state: SiteState, grouping: Grouping) -> ArrayRecord:
    """Return the update as it travels. What its coding rounds off is kept under this round before anything leaves."""
    coding = coding_of(declare(tensors), task.groups, task.study.wire.up, grouping)
    exact = pack_tensors({name: tensor for name, tensor in tensors.items() if name not in coding})
    if not coding:
        return exact
    previous = state.last_before(task.stage, task.round)
    before = load_residuals(None if previous is None else state.rounded_off(task.stage, previous))
    coded = code_update(tensors, received, before, coding)
    keep_residuals(state.rounded_off(task.stage, task.round), coded.residuals)
    return join_arrays([exact, pack_coded(coded.changes, declare(tensors))])
