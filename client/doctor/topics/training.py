"""Whether the machine can train the study: its device, a real step of each stage, a round against its deadline."""

from __future__ import annotations

import math

from client.doctor.check import Check, Topic
from client.doctor.finding import Finding, NotCheckedError, failed, passed, warned
from client.doctor.surroundings import Surroundings
from client.doctor.trial import Cost
from client.limits import GB
from common.errors import DataError, GliofedError
from common.settings.stages import FOLDS, Stage

START_S = 25.0
"""What a message costs before it trains: a new process, its imports, tensors on their way."""
MORE_MEMORY = (
    "stop what else runs on the device, raise policy.gpu_memory_gb, set hardware.micro_batch in site.toml, take a "
    "machine with more memory, or ask the study for a smaller grid"
)
TIGHT = 0.5
"""The share of a deadline beyond which a round has no room for a busy machine."""


def device(around: Surroundings) -> Finding:
    """Whether a GPU that is there can be used, and whether the study needs one."""
    trial, driver = around.trial, around.system("proc/driver/nvidia/version")
    if trial.problem:
        raise NotCheckedError("the trial ended early")
    figures = {"gpu": float(trial.device == "cuda"), "memory_gb": round(trial.memory_bytes / GB, 1)}
    said = f"{trial.named} with {trial.memory_bytes / GB:.0f} GB"
    if trial.device == "cuda":
        return passed(f"PyTorch computes on {said}", **figures)
    if driver is not None:
        what = "an NVIDIA driver is loaded, but PyTorch finds no GPU that it can use"
        remedy = "install the PyTorch of CUDA that fits the driver (`nvidia-smi`), and give the container the GPU"
        return failed("gpu-unused", what, remedy, **figures)
    if around.study is not None and around.study.size == "paper":
        what = "there is no GPU, and a study of size paper takes days without one"
        return warned("no-gpu", what, "use a machine with a GPU, or look at the estimate of a round", **figures)
    return passed(f"PyTorch computes on the {said}", **figures)


def step(around: Surroundings) -> Finding:
    """Whether a real training step of each stage fits into this machine's memory."""
    costs = around.trial.costs
    if around.trial.problem:
        what = f"the trial of a training step ended early: {around.trial.problem}"
        return failed("no-trial", what, MORE_MEMORY)
    figures = {f"{stage}_s": round(cost.seconds, 3) for stage, cost in costs.items() if not cost.problem}
    if broken := {stage: cost.problem for stage, cost in costs.items() if cost.problem}:
        what = ", ".join(f"{stage}: {problem}" for stage, problem in broken.items())
        return failed("no-step", f"a training step could not be taken ({what})", MORE_MEMORY, **figures)
    peak_gb = max((cost.peak_bytes for cost in costs.values()), default=0) / GB
    figures["peak_gb"] = round(peak_gb, 2)
    said = ", ".join(f"{stage} {cost.seconds:.2g} s" for stage, cost in costs.items())
    short = [
        stage for stage, cost in costs.items() if cost.rows is not None and around.config.hardware.micro_batch is None
    ]
    if short:
        what = f"memory holds no whole batch of {', '.join(short)}; it goes on with fewer slices at a time ({said})"
        remedy = "nothing must be done; stop what else runs on the device where a round takes too long"
        return warned("fewer-rows", what, remedy, **figures)
    if around.study is None:
        said = f"no study is known; of a small one {said}"
    return passed(f"a step each: {said}; at most {peak_gb:.1f} GB in use", **figures)


def round_time(around: Surroundings) -> Finding:
    """Whether a round of each stage will be done before its deadline."""
    study, costs = around.wanted, around.trial.costs
    shares = {
        stage: estimate_s(around, stage, costs[_model_of(stage)]) / study.deadline_s(stage)
        for stage in study.stages.present
        if _model_of(stage) in costs and not costs[_model_of(stage)].problem
    }
    if not shares:
        raise NotCheckedError("no step could be timed")
    figures = {f"{stage}_s": round(share * study.deadline_s(stage)) for stage, share in shares.items()}
    worst = max(shares, key=lambda stage: shares[stage])
    said = (
        f"a round of {worst} takes about {figures[f'{worst}_s']} s here, its deadline is {study.deadline_s(worst):g} s"
    )
    remedy = (
        "use a faster machine, or ask the coordinator for a longer deadline_s or fewer local_steps; what else runs "
        "here counts too"
    )
    if shares[worst] > 1:
        return failed("too-slow", said, remedy, **figures)
    if shares[worst] > TIGHT:
        return warned("tight", said, remedy, **figures)
    return passed(said, **figures)


def estimate_s(around: Surroundings, stage: Stage, cost: Cost) -> float:
    """Return the seconds that a round of `stage` takes at least: start, steps, and no care for evaluation."""
    study = around.wanted
    settings = study.stages.of(stage)
    assert settings is not None, "the study has the stage"  # noqa: S101
    patients = 1.0
    if study.privacy.covers(stage):  # a private step goes patient by patient
        patients = max(1.0, math.ceil(len(around.catalog.patients) * study.privacy.sampling_rate))
    return START_S + settings.local_steps * cost.seconds * patients


def _model_of(stage: Stage) -> Stage:
    return Stage.GENERATOR if stage in FOLDS else stage


TOPIC = Topic(
    "training",
    (
        Check("device", "a GPU that is there can be used; a study of size paper has one", device, GliofedError),
        Check("training-step", "a real training step of each stage, at the study's size, in memory", step, DataError),
        Check("round-time", "the estimate of a round against the stage's deadline", round_time, GliofedError),
    ),
)
