"""One round's work at one site: train the global model on its cases, score it, keep the optimisers' state."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save
from torch import nn

from client.allocator import keep_freed_memory
from client.compilation import make_ready
from client.consent.approvals import require_same_approval
from client.data.dataset import CaseStore
from client.limits import limit_gpu_memory
from client.monitor import StepDone, report_step
from client.precision import computing_in
from client.privacy.budget import Budget
from client.privacy.policy import patients_behind_number, patients_behind_training
from client.privacy.policy_digest import policy_digest
from client.privacy.private_step import PrivateStep
from client.site import Site
from client.stopping import refuse_if_stopped, state_folder
from client.training.checkpoint import load_optimisers, save_optimisers
from client.training.folds import fold_store
from client.training.held_tensors import HeldTensors
from client.training.kept_update import KeptUpdates
from client.training.prefetch import drawn_ahead, prefetches
from client.training.proximal import pull_towards_global
from client.training.row_budget import RowBudget, within
from client.training.trainer import NothingToTrainError, TrainingStep, draw_batches, fit, rate_of
from client.training.update import Counted, LocalUpdate
from client.training.workplace import Workplace
from common.errors import StudyError
from common.files import write_whole
from common.nets.stage_models import build_model
from common.parameters import NORMS, OF_A_SITE, SHARED, Grouping, StateDict, group_of, grouping_of
from common.records import Task
from common.seeding import derive_seed, deterministic_on_cpu, torch_generator
from common.sequences import Domain
from common.settings.stages import FOLDS, Stage, StageSettings
from common.study import Study

ModelBuilder = Callable[[Stage, Study, tuple[Domain, ...], torch.Generator], nn.Module]
StepBuilder = Callable[[nn.Module, Workplace], TrainingStep]

STEP_MODULES: Mapping[Stage, str] = {
    Stage.GENERATOR: "gan_step",
    **dict.fromkeys(FOLDS, "gan_step"),
    Stage.SYNTHESISER: "synthesis_step",
    Stage.SEGMENTER: "segmentation_step",
    Stage.IDENTIFIER: "identification_step",
    Stage.CALIBRATION: "calibration_step",
    Stage.MAPS: "paired_step",
}


def step_builder(stage: Stage) -> StepBuilder:
    """Return the `build_step` of the stage's module, imported when it is needed."""
    module: Any = importlib.import_module(f"client.training.{STEP_MODULES[stage]}")
    return cast(StepBuilder, module.build_step)


@dataclass(frozen=True)
class Bench:
    """Where models and steps come from; tests put others here."""

    build_model: ModelBuilder = build_model
    step_builder: Callable[[Stage], StepBuilder] = step_builder
    device: torch.device = field(default_factory=lambda: torch.device("cuda" if torch.cuda.is_available() else "cpu"))


@dataclass(frozen=True)
class SiteState:
    """The folder `<workdir>/state/<run>` in which a site keeps what a run needs again.

    `policy` is the digest of the policy under which an update is kept: it leaves under that one alone.
    """

    folder: Path
    policy: str

    @classmethod
    def of(cls, site: Site, run: str) -> SiteState:
        """Return the state folder of `run`."""
        return cls(state_folder(site.workdir, run), policy_digest(site.policy))

    @property
    def held(self) -> HeldTensors:
        """The global groups that came last, and the released models of earlier stages."""
        return HeldTensors(self.folder / "held")

    @property
    def kept(self) -> KeptUpdates:
        """The finished updates, as they left."""
        return KeptUpdates(self.folder / "kept", self.policy)

    def optimisers(self, stage: Stage, number: int) -> Path:
        """File of the optimisers' state after round `number`."""
        return self.folder / stage.value / f"{number}.safetensors"

    def local(self, stage: Stage, number: int) -> Path:
        """File of the site's own tensors, local ones and norms, after round `number`."""
        return self.folder / stage.value / f"{number}.local.safetensors"

    def rounded_off(self, stage: Stage, number: int) -> Path:
        """File of what the coding of round `number`'s update rounded off."""
        return self.folder / stage.value / f"{number}.rounded.safetensors"

    def last_before(self, stage: Stage, number: int) -> int | None:
        """Return the newest finished round before `number`; a repeated round must not see its own first try."""
        done = [int(path.stem) for path in (self.folder / stage.value).glob("*.safetensors") if path.stem.isdecimal()]
        return max((finished for finished in done if finished < number), default=None)

    def norms_begun_with(self, task: Task) -> str | None:
        """Return the digest of the norms that the site began the task's stage with, None without FedBN.

        They come with the task of the site's first round of the stage, and are named in what every round keeps.
        """
        previous = self.last_before(task.stage, task.round)
        if previous is None:
            return task.groups.get(NORMS)
        path = self.local(task.stage, previous)
        if not path.is_file():
            return None
        with safe_open(path, framework="pt") as file:
            begun: str | None = (file.metadata() or {}).get(NORMS)
        return begun

    def forget_before(self, stage: Stage, number: int) -> None:
        """Remove the states of rounds before `number`."""
        for path in (self.folder / stage.value).glob("*.safetensors"):
            if int(path.name.split(".")[0]) < number:
                path.unlink()


def state_of(site: Site, task: Task) -> SiteState:
    """Return the state folder of the task's run."""
    return SiteState.of(site, task.run)


def fresh_model(task: Task, bench: Bench) -> nn.Module:
    """Return the stage's network with the weights that the study's seed gives."""
    return _build(task.stage, task, bench)


def train_locally(site: Site, task: Task, model: nn.Module, bench: Bench) -> LocalUpdate:
    """Train `model`, which carries the global weights, for one round on the site's cases, then score the held-out ones.

    The site's own tensors go on from where its last round left them.

    Every random number comes from the study's seed, the site, the stage and the round: a repeated round gives the
    same bytes. Not so in a stage that is trained privately; there the round is first reserved in the site's ledger.

    Raises:
        NothingToTrainError: where no case of the site fits the stage.
        BudgetExhaustedError, LedgerError: where the round cannot be paid for in privacy; nothing was trained.
        NonFiniteLossError: where training diverged; nothing is kept.
        StoppedError, NotApprovedError: where the run was stopped, or consent revoked, while it trained.
    """
    settings = _settings(task)
    state = state_of(site, task)
    keep_freed_memory()
    limit_gpu_memory(site.policy, bench.device)
    with (
        torch.random.fork_rng(devices=[]),
        deterministic_on_cpu(bench.device),
        computing_in(task.study.training.precision),
    ):
        torch.manual_seed(derive_seed(task.study.seed, site.name, task.stage.value, task.round, "global"))
        previous = state.last_before(task.stage, task.round)
        if previous is not None and state.local(task.stage, previous).is_file():
            model.load_state_dict(load_file(state.local(task.stage, previous)), strict=False)
        step = _open_step(site, task, model, bench)
        if previous is not None:
            load_optimisers(state.optimisers(task.stage, previous), step.optimisers)
        pull_towards_global(model, step.optimisers.values(), task.study.aggregation.proximal_weight)
        private = step if isinstance(step, PrivateStep) else None
        spent = Budget.of(site.workdir, site.policy).reserve(task, private.moves) if private else None
        losses = _fit(site, task, step, settings, bench.device)
        if private:
            private.check_buffers()
        model.eval()
        scores = {} if private else step.evaluate(site.held_out)
    tensors = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in step.model.state_dict().items()}
    grouping = grouping_of(model)
    _keep(state, task, step, tensors, grouping)
    patients, behind = step.patients(), step.behind()
    if grouping.norms and SHARED in patients:
        patients = patients | {NORMS: patients[SHARED]}
    fewest = {group: count for group, count in behind.items() if group in patients}
    return LocalUpdate(tensors, grouping, patients, _counted(losses, scores, step), fewest, spent)


def _settings(task: Task) -> StageSettings:
    settings = task.study.stages.of(task.stage)
    if settings is None:
        raise StudyError(f"the study has no stage {task.stage}")
    return settings


def _build(stage: Stage, task: Task, bench: Bench) -> nn.Module:
    domains = task.plan.domains(task.study)
    return bench.build_model(stage, task.study, domains, torch_generator(task.study.seed, "initial", stage.value))


def _open_step(site: Site, task: Task, model: nn.Module, bench: Bench) -> TrainingStep:
    """Build the stage's step over the site's training cases, a fold's over its half of them, earlier stages frozen."""
    frozen: dict[Stage, nn.Module] = {}
    for stage, digest in task.earlier.items() if task.stage not in (Stage.GENERATOR, *FOLDS) else ():
        released = _build(stage, task, bench)
        released.load_state_dict(state_of(site, task).held.tensors(digest))
        frozen[stage] = released.eval().requires_grad_(False)
    for each in (*frozen.values(), model.train()):
        make_ready(each, bench.device, site.hardware.compile)
    domains, store = task.plan.domains(task.study), site.training
    if task.stage in FOLDS:
        store = _fold_of(site, task)
    minimum = patients_behind_number(site.policy, task.study)
    place = Workplace(task.study, domains, site.name, store, frozen, bench.device, minimum)
    step = bench.step_builder(task.stage)(model, place)
    if not task.study.privacy.covers(task.stage):
        return step
    return PrivateStep(step, task.study.privacy, expected=_settings(task).batch_size)


def _fold_of(site: Site, task: Task) -> CaseStore:
    """Return the fold's half of the training cases; nothing trained on fewer patients than the minimum could leave."""
    store = fold_store(site.training, FOLDS.index(task.stage), task.study.seed)
    patients = len(store.patients(lambda case: bool(case.sequences)))
    minimum = patients_behind_training(site.policy, task.study)
    if patients < minimum:
        raise NothingToTrainError(
            f"{task.stage}: {patients} patients, fewer than the {minimum} that must stand behind it"
        )
    return store


def _fit(site: Site, task: Task, step: TrainingStep, settings: StageSettings, device: torch.device) -> dict[str, float]:
    """Train for the round's steps and return each loss's mean over the steps that reported it."""
    sums: dict[str, list[float]] = {}

    def on_step(number: int, losses: dict[str, float]) -> None:
        refuse_if_stopped(site.workdir, task.run)
        require_same_approval(site.workdir, site.policy, task.study_digest, site.approved)
        for name, value in losses.items():
            sums.setdefault(name, []).append(value)
        report_step(StepDone(site.name, task.stage, task.round, number, settings.local_steps, dict(losses)))

    generator = torch_generator(task.study.seed, site.name, task.stage.value, task.round)
    batches = draw_batches(step, settings.local_steps, generator)
    ahead = drawn_ahead(batches) if prefetches(site.hardware.prefetch, device) else nullcontext(batches)
    budget = site.budgets.setdefault(task.stage, RowBudget(site.hardware.micro_batch))
    with ahead as ready, within(budget):
        fit(step, ready, on_step, rate_of(settings, task.round))
    return {name: sum(values) / len(values) for name, values in sorted(sums.items())}


def _keep(state: SiteState, task: Task, step: TrainingStep, tensors: StateDict, grouping: Grouping) -> None:
    """Keep what the next round needs, and the round that this one went on from in case this one is asked for again."""
    local = {name: tensor for name, tensor in tensors.items() if group_of(name, grouping) in OF_A_SITE}
    if local:
        begun = state.norms_begun_with(task)
        write_whole(state.local(task.stage, task.round), save(local, {NORMS: begun} if begun else None))
    save_optimisers(state.optimisers(task.stage, task.round), step.optimisers)
    previous = state.last_before(task.stage, task.round)
    state.forget_before(task.stage, task.round if previous is None else previous)


def _counted(losses: Mapping[str, float], scores: Mapping[str, Counted], step: TrainingStep) -> dict[str, Counted]:
    """Put behind each loss the patients that can contribute to it; each score brings those that it was measured on."""
    behind, fewest = step.behind(), min(step.patients().values(), default=0)
    metrics = {f"training.{name}": Counted(value, behind.get(name, fewest)) for name, value in losses.items()}
    return metrics | {f"held_out.{name}": score for name, score in scores.items()}
