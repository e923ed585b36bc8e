"""One measurement: a network prepared in one form, then turns of one task, each beside the machine's best rates."""

from __future__ import annotations

import contextlib
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from client.allocator import keep_freed_memory
from client.compilation import make_ready, stop_compiling, training
from client.precision import computing_in
from common.settings.stages import Stage
from simulations.bench.case import case_of
from simulations.bench.counts import count_flops, count_parameters, count_step
from simulations.bench.machine import load_average
from simulations.bench.rates import clock, measure_rates
from simulations.bench.report import DeviceName, Form, Measurement, Size, Spread, Task
from simulations.bench.workloads import BatchShape, Workload, prepare

SHORTEST_TURN_S, LONG_S, MOST_REPEATS = 0.3, 3.0, 100
STATUS, HIGH_WATER = Path("/proc/self/status"), Path("/proc/self/clear_refs")


@dataclass(frozen=True)
class Job:
    """What is measured, in which form.

    Attributes:
        shape: the batch of a training step; of a case its slices; an inference takes one of its rows.
        sampling_steps: of a case.
    """

    stage: Stage
    size: Size
    task: Task
    form: Form
    shape: BatchShape
    device: DeviceName = "cpu"
    sampling_steps: int | None = None


@dataclass(frozen=True)
class Turn:
    """One repetition."""

    seconds: float
    processor_seconds: float
    convolution_rate: float
    matrix_rate: float
    load: float


class Stopwatch:
    """Prepares a job when it is made (warm-up included) and times one turn at a time."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.device = torch.device(job.device)
        if job.form == "ours" and job.device == "cpu":
            keep_freed_memory()
        self.before = _forget_high_water(self.device)
        self.turns: list[Turn] = []
        self.workload = self._prepare()
        if job.form == "ours":
            make_ready(self.workload.model, self.device)
        self.repeats = 1
        if job.task != "case":
            first, _ = clock(self._run, self.device)
            again = first if first > LONG_S else clock(self._run, self.device)[0]
            self.repeats = max(1, min(MOST_REPEATS, round(SHORTEST_TURN_S / again)))

    def turn(self) -> None:
        """Time the task, short ones several times over, and the machine's best rates right before it."""
        rates = measure_rates(self.device, torch.float32 if self.job.form == "plain" else torch.bfloat16)
        both = clock(self._repeat, self.device)
        seconds, processor_seconds = (value / self.repeats for value in both)
        self.turns.append(Turn(seconds, processor_seconds, rates.convolution, rates.matrix, load_average()))

    def result(self) -> Measurement:
        """Return what was measured in all turns, and what is counted on a network prepared anew."""
        job, turns, model = self.job, self.turns, self.workload.model
        memory = _high_water(self.device, self.before)
        flops, counted = self._count()
        seconds = spread([turn.seconds for turn in turns])
        rates = [max(turn.convolution_rate for turn in turns), max(turn.matrix_rate for turn in turns)]
        shares = [None if flops is None else flops / seconds.median / rate for rate in rates]
        return Measurement(
            model=job.stage,
            task=job.task,
            form=job.form,
            network=type(model).__name__,
            precision=self.precision,
            rows=1 if job.task == "inference" else job.shape.rows,
            height=job.shape.height,
            width=job.shape.width,
            sampling_steps=job.sampling_steps,
            parameters=count_parameters(model),
            flops=flops,
            seconds=seconds,
            processor_seconds=spread([turn.processor_seconds for turn in turns]),
            convolution_rate=rates[0],
            matrix_rate=rates[1],
            convolution_share=shares[0],
            matrix_share=shares[1],
            peak_memory_bytes=memory,
            counted_memory_bytes=counted,
            load_average=statistics.fmean(turn.load for turn in turns),
        )

    def _prepare(self) -> Workload:
        job = self.job
        return prepare(job.stage, job.size, job.form, job.shape, self.device)

    def _run(self) -> None:
        workload, job, trains = self.workload, self.job, self.job.task == "training step"
        work = workload.train if trains else workload.infer
        if job.task == "case":
            work = case_of(workload.model, job.shape.rows, job.shape.height, job.shape.width, job.sampling_steps or 1)
        workload.model.train(trains)
        mode = training(workload.model) if trains else torch.inference_mode()
        with computing_in(self.precision), mode:
            try:
                work()
            except RuntimeError as error:
                if not stop_compiling(error):
                    raise
                work()

    def _repeat(self) -> None:
        for _ in range(self.repeats):
            self._run()

    def _count(self) -> tuple[int | None, int | None]:
        """Return operations and, of a training step, memory. Gradients stay on: fused attention is not counted."""
        if self.job.task == "case":
            return None, None
        workload = self._prepare()
        with computing_in(self.precision):
            if self.job.task == "inference":
                return count_flops(workload.infer), None
            counts = count_step(workload.model, workload.optimisers, workload.train)
            return counts.flops, counts.memory_bytes

    @property
    def precision(self) -> Literal["bf16", "fp32"]:
        """In which the form computes."""
        return "fp32" if self.job.form == "plain" else "bf16"


def spread(values: Sequence[float]) -> Spread:
    """Return median and range."""
    return Spread(median=statistics.median(values), least=min(values), most=max(values), turns=len(values))


def _forget_high_water(device: torch.device) -> int:
    """Let the high-water mark start anew and return the bytes in use."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return 0
    if not STATUS.exists():
        return 0
    with contextlib.suppress(OSError):  # a container may forbid it: the mark then is that of the process's life
        HIGH_WATER.write_text("5")
    return _status("VmRSS")


def _high_water(device: torch.device, before: int) -> int | None:
    """Return the most bytes in use since the mark was reset, less `before`; None where the system does not tell."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return max(0, _status("VmHWM") - before) if STATUS.exists() else None


def _status(key: str) -> int:
    line = next(line for line in STATUS.read_text("utf-8").splitlines() if line.startswith(f"{key}:"))
    return int(line.split()[1]) * 1024
