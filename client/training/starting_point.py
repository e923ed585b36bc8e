"""What a site starts a round from: global groups that it holds, those that have just come among them.

They must be all the groups that the site may know and no other. A coordinator that could leave some out would have the
site begin from the study's seed instead, and single out what it learns.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from torch import nn

from client.training.held_tensors import HeldTensors
from common.parameters import NORMS, StateDict, by_group, grouping_of, known_groups, travelling
from common.records import Task, WireError


def starting_point(held: HeldTensors, groups: Mapping[str, str], earlier: Iterable[str]) -> StateDict | None:
    """Return the tensors of `groups`, or None where some of them must be sent again, or an earlier model.

    Args:
        groups: group → digest.
        earlier: digests of the earlier models, which are opened where they are used.
    """
    if held.missing((*groups.values(), *earlier)):
        return None
    return {name: tensor for digest in groups.values() for name, tensor in held.tensors(digest).items()}


def check_task(site: str, task: Task, model: nn.Module) -> None:
    """Refuse a round that the study does not have, and other groups than `site` starts from; norms may come or not.

    Raises:
        WireError: `wrong-round` or `wrong-groups`.
    """
    settings = task.study.stages.of(task.stage)
    if settings is None or task.round > settings.rounds:
        raise WireError("wrong-round", f"the study that was approved has no {task.stage} round {task.round}")
    grouping = grouping_of(model)
    present = by_group(travelling(model.state_dict(), grouping), grouping)
    expected = known_groups(site, task.plan.domains(task.study)) & set(present)
    named = set(task.groups)
    if named - {NORMS} != expected or (NORMS in named and NORMS not in present):
        raise WireError(
            "wrong-groups",
            f"{task.stage} round {task.round} names {len(named)} parameter groups, which are not the "
            f"{len(expected)} that this site starts from",
        )
