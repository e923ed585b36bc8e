"""What a message brings: tensors that the site lacks, kept by their digests until no task needs them."""

from __future__ import annotations

from flwr.app import RecordDict
from torch import nn

from client.training.held_tensors import HeldTensors
from client.training.starting_point import starting_point
from client.training.tasks import Bench, SiteState, fresh_model
from common.parameters import NORMS, StateDict, group_of, grouping_of, travelling
from common.records import EARLIER, GLOBAL, Task, arrays_of, declare, unpack_tensors
from common.settings.stages import Stage
from common.wire.selection import coding_of


def take_in(content: RecordDict, held: HeldTensors, task: Task, model: nn.Module, bench: Bench) -> None:
    """Keep the global groups and the earlier models that the message carries, and nothing that no task needs now."""
    grouping = grouping_of(model)
    known = declare(travelling(model.state_dict(), grouping))
    coding = coding_of(known, task.groups, task.study.wire.down, grouping)
    for group, digest in task.groups.items():
        if GLOBAL + group in content:
            declared = {name: tensor for name, tensor in known.items() if group_of(name, grouping) == group}
            held.keep(unpack_tensors(arrays_of(content, GLOBAL + group), declared, coding), digest)
    take_in_models(content, held, task, bench)
    held.forget_but((*task.groups.values(), *task.earlier.values()))


def take_in_models(content: RecordDict, held: HeldTensors, task: Task, bench: Bench) -> None:
    """Keep the released models of earlier stages that the message carries."""
    for stage, digest in task.earlier.items():
        if EARLIER + stage.value in content:
            declared = declare(fresh_model(task.model_copy(update={"stage": Stage(stage)}), bench).state_dict())
            held.keep(unpack_tensors(arrays_of(content, EARLIER + stage.value), declared), digest)


def begins_from(task: Task, state: SiteState, model: nn.Module) -> StateDict | None:
    """Return what the site starts from, None where it lacks tensors, or norms to begin the stage with (FedBN)."""
    begins = state.last_before(task.stage, task.round) is None
    if begins and grouping_of(model).norms and NORMS not in task.groups:
        return None
    return starting_point(state.held, task.groups, task.earlier.values())
