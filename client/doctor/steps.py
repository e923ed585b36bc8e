"""The steps of a trial: each stage's own, on patients of noise, timed. Run by a process of `client.doctor.trial`."""

from __future__ import annotations

import resource
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from torch import nn

from client.compilation import make_ready
from client.config import Policy
from client.data.cache import LabelKind, open_case, write_case
from client.data.dataset import CaseStore
from client.doctor.trial import Cost, Order, Trial
from client.limits import limit_gpu_memory
from client.memory import memory_bytes
from client.precision import computing_in
from client.privacy.private_step import PrivateStep
from client.training.row_budget import OutOfMemoryError, RowBudget, within
from client.training.tasks import step_builder
from client.training.trainer import TrainingStep
from client.training.workplace import Workplace
from common.errors import GliofedError
from common.nets.stage_models import build_model
from common.seeding import torch_generator
from common.sequences import Domain, with_twins
from common.settings.stages import Stage
from common.study import Study

TRIED = (Stage.GENERATOR, Stage.SYNTHESISER, Stage.SEGMENTER, Stage.MAPS)
"""Stages whose step can be taken on noise; the identifier needs tumours that a trained segmenter finds."""
STEPS = 2
"""The last of them is timed; the first also pays for what is done once."""
KIB = 1024


def try_steps(order: Order) -> Trial:
    """Carry `order` out here."""
    cuda = torch.cuda.is_available()
    named = torch.cuda.get_device_name(0) if cuda else "CPU"
    memory = torch.cuda.get_device_properties(0).total_memory if cuda else memory_bytes()
    device = torch.device("cuda" if cuda else "cpu")
    costs: dict[Stage, Cost] = {}
    study = Study.model_validate_json(order.study, strict=True)
    for stage in TRIED:
        if study.stages.of(stage) is not None:
            costs[stage] = _cost(stage, study, order, device)
    return Trial(device=device.type, named=named, memory_bytes=memory, costs=costs)


def _cost(stage: Stage, study: Study, order: Order, device: torch.device) -> Cost:
    """Return what a step of `stage` takes, or a word for why it cannot be taken."""
    limit_gpu_memory(Policy(gpu_memory_gb=order.gpu_memory_gb), device)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    budget = RowBudget(order.hardware.micro_batch)
    try:
        with tempfile.TemporaryDirectory() as folder, computing_in(study.training.precision), within(budget):
            seconds = _timed(stage, study, order.site, Path(folder), device)
    except (OutOfMemoryError, MemoryError, torch.OutOfMemoryError):
        return Cost(problem="out-of-memory")
    except GliofedError as error:
        return Cost(problem=error.code)
    peak = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else _resident()
    return Cost(seconds=seconds, peak_bytes=peak, rows=budget.rows)


def _timed(stage: Stage, study: Study, site: str, folder: Path, device: torch.device) -> float:
    """Take `STEPS` steps and return the seconds of the last; of a private stage, one patient's share of it."""
    place, model = _workplace(stage, study, site, folder, device)
    step: TrainingStep = step_builder(stage)(model, place)
    patients, settings = 1, study.stages.of(stage)
    if study.privacy.covers(stage) and settings is not None:
        everybody = study.privacy.model_copy(update={"sampling_rate": 1.0})
        step, patients = PrivateStep(step, everybody, settings.batch_size), len(place.store.patients())
    draw, seconds = torch.Generator().manual_seed(study.seed), 0.0
    for _ in range(STEPS):
        began = time.perf_counter()
        step(step.draw(draw))
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        seconds = time.perf_counter() - began
    return seconds / patients


def _workplace(
    stage: Stage, study: Study, site: str, folder: Path, device: torch.device
) -> tuple[Workplace, nn.Module]:
    """Return where the step is taken, and its network: as large as the study's when every site holds every sequence."""
    domains: tuple[Domain, ...] = with_twins(
        tuple(Domain(each, sequence) for each in dict.fromkeys((*study.sites, site)) for sequence in study.sequences)
    )
    draw = torch_generator(study.seed, "doctor", stage.value)
    model = build_model(stage, study, domains, draw).train()
    earlier = {} if stage is Stage.GENERATOR else {Stage.GENERATOR: build_model(Stage.GENERATOR, study, domains, draw)}
    for each in (model, *earlier.values()):
        make_ready(each, device, "off")  # compiling would take longer than what is measured
    frozen = {name: each.eval().requires_grad_(False) for name, each in earlier.items()}
    return Workplace(study, domains, site, noise(study, folder), frozen, device), model


def noise(study: Study, folder: Path, patients: int = 2, depth: int = 6) -> CaseStore:
    """Write patients of noise on the study's grid, with every sequence, a tumour in each slice, and open them."""
    patch = None if study.stages.segmenter is None else study.stages.segmenter.patch
    height, width = study.grid.shape
    shape = (max(depth, patch[2] if patch else 0), height, width)
    cases = []
    for number in range(patients):
        draw = np.random.default_rng(number)
        labels = np.zeros(shape, dtype=np.uint8)
        labels[:, height // 4 : height // 2, width // 4 : width // 2] = 4
        greys = {each.value: draw.uniform(-1, 1, shape).astype(np.float32) for each in study.sequences}
        facts = {
            "case": f"noise-{number}",
            "patient": f"noise-{number}",
            "sequences": [each.value for each in study.sequences],
            "label_kind": LabelKind.FULL.value,
            "bbb_disrupted": bool(number % 2),
            "affine": np.diag([*study.grid.spacing_mm, 1.0]).tolist(),
            "native": {},
            "greys": {},
        }
        path = folder / f"noise-{number}.safetensors"
        write_case(path, {**greys, "brain": np.ones(shape, dtype=np.uint8), "labels": labels}, facts)
        cases.append(open_case(path))
    return CaseStore(cases, study.sequences)


def _resident() -> int:
    """Return the most memory that this process ever held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * KIB
