"""One stage at the coordinator: its network's tensors, who may send which of them, and the stages before it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from common.parameters import Grouping, StateDict, grouping_of, known_groups, permitted_groups
from common.plan import Plan
from common.records import declare
from common.release import file_digest
from common.seeding import torch_generator
from common.sequences import Domain
from common.settings.stages import FOLDS, Stage, StageSettings
from common.study import Study
from server.first_weights import check_fit
from server.gate import Gate
from server.journal import Journal

ModelBuilder = Callable[[Stage, Study, tuple[Domain, ...], torch.Generator], nn.Module]


@dataclass(frozen=True)
class StageModel:
    """A stage's tensors before its first round, its gate, and its settings.

    Attributes:
        initial: all tensors, local ones included: sites never get those, a release carries their initial values.
        grouping: which tensors are a site's own.
        parameters: names of the tensors that are parameters; the others are buffers.
        known: per site, the groups that it is sent in every round.
    """

    stage: Stage
    settings: StageSettings
    initial: StateDict
    grouping: Grouping
    gate: Gate
    parameters: frozenset[str]
    known: Mapping[str, frozenset[str]]

    @property
    def optional(self) -> bool:
        """Whether a run goes on where no site has anything to say.

        Thresholds then stay as the study has them, and the generator of all fills what a fold's generator would.
        """
        return self.stage in (Stage.CALIBRATION, *FOLDS)


def open_stage(
    stage: Stage, study: Study, plan: Plan, build: ModelBuilder, first_weights: StateDict | None = None
) -> StageModel:
    """Build the stage's network with the initial weights that the study's seed gives.

    The identifier begins with `first_weights` where there are any. Raises ReleaseError where they do not fit.
    """
    settings = study.stages.of(stage)
    if settings is None:
        raise ValueError(f"the study has no stage {stage}")
    domains = plan.domains(study)
    model = build(stage, study, domains, torch_generator(study.seed, "initial", stage.value))
    initial = {name: tensor.detach().cpu().clone() for name, tensor in model.state_dict().items()}
    if stage is Stage.IDENTIFIER and first_weights is not None:
        initial = check_fit(first_weights, initial)
    permitted = {entry.site: permitted_groups(entry.site, domains) for entry in plan.inventory}
    known = {entry.site: known_groups(entry.site, domains) for entry in plan.inventory}
    grouping = grouping_of(model)
    gate, parameters = Gate(declare(initial), permitted, grouping), frozenset(dict(model.named_parameters()))
    return StageModel(stage, settings, initial, grouping, gate, parameters, known)


def earlier_weights(journal: Journal, stage: Stage) -> Mapping[Stage, tuple[Path, str]]:
    """Return file and digest of the averaged weights of every stage before `stage`; the maps learn from none."""
    if stage is Stage.MAPS:
        return {}
    before = journal.study.stages.present[: journal.study.stages.present.index(stage)]
    return {done: (journal.weights(done), file_digest(journal.weights(done))) for done in before}
