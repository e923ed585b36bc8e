"""The bench: every measurement in a process of its own, our form and the plain one taking turns under the same load."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from multiprocessing.connection import Connection
from typing import Protocol

import torch

from common import __version__
from common.errors import GliofedError
from common.settings.stages import Stage
from simulations.bench.case import HYPOTHESES, PUBLISHED_STEPS
from simulations.bench.machine import describe_machine
from simulations.bench.report import BenchReport, DeviceName, Measurement, Size, Spread, Task
from simulations.bench.stopwatch import Job, Stopwatch
from simulations.bench.workloads import MEASURED, SHAPES, BatchShape

TASKS: tuple[Task, ...] = ("training step", "inference")
END_S = 30.0


@dataclass(frozen=True)
class BenchSettings:
    """What is measured.

    Attributes:
        turns: repetitions of each task; a case is drawn once.
        sampling_steps: of a case.
        case_slices: of a case; 0 leaves it out.
        rows: slices of a training step, instead of the papers'.
        shape: instead of the size's own batch; for tests.
    """

    stages: tuple[Stage, ...] = MEASURED
    size: Size = "tiny"
    device: DeviceName = "cpu"
    turns: int = 5
    sampling_steps: int = 10
    case_slices: int = 19
    rows: int | None = None
    shape: BatchShape | None = None

    @property
    def command(self) -> str:
        """The command line that measures the same."""
        batch = "" if self.rows is None else f" --batch {self.rows}"
        models = "" if self.stages == MEASURED else "".join(f" --model {stage}" for stage in self.stages)
        return (
            f"gliofed-sim bench{models} --size {self.size} --device {self.device} --turns {self.turns}{batch} "
            f"--steps {self.sampling_steps} --case-slices {self.case_slices} --out bench.json"
        )


class Measured(Protocol):
    """A prepared job, here or in another process."""

    def turn(self) -> None: ...

    def result(self) -> Measurement: ...


Opener = Callable[[Job], "Measured"]
Listener = Callable[[int, int], None]


def run_bench(settings: BenchSettings, on_turn: Listener, opener: Opener | None = None) -> BenchReport:
    """Measure everything that the settings name.

    Args:
        on_turn: called with turns done and turns in all.
        opener: prepares a job; by default each in a fresh process, which ends with its measurement.
    Raises:
        GliofedError: where the device is not there, or a measuring process ended early (out of memory, most likely).
    """
    if settings.device == "cuda" and not torch.cuda.is_available():
        raise GliofedError("there is no CUDA device here, or this PyTorch is without CUDA; use --device cpu")
    machine = describe_machine(torch.device(settings.device))
    pairs = [(stage, task) for stage in settings.stages for task in TASKS]
    with_case = settings.case_slices > 0 and Stage.SYNTHESISER in settings.stages
    total = 2 * settings.turns * len(pairs) + with_case
    done = 0

    def tick() -> None:
        nonlocal done
        done += 1
        on_turn(done, total)

    found: list[Measurement] = []
    for stage, task in pairs:
        found += _compare(_job(settings, stage, task), settings.turns, tick, opener)
    if with_case:
        found += _case(settings, found, tick, opener)
    return BenchReport(
        gliofed=__version__,
        date=datetime.now(UTC).strftime("%Y-%m-%d"),
        command=settings.command,
        machine=machine,
        measurements=tuple(found),
    )


def _job(settings: BenchSettings, stage: Stage, task: Task) -> Job:
    shape = settings.shape or SHAPES[settings.size][stage]
    if settings.rows is not None:
        shape = replace(shape, rows=settings.rows)
    return Job(stage, settings.size, task, "ours", shape, settings.device)


def _compare(job: Job, turns: int, tick: Callable[[], None], opener: Opener | None) -> list[Measurement]:
    """Return the plain form and ours, which take turns, so that other work on the machine hits both."""
    with ExitStack() as open_jobs:
        jobs = [replace(job, form="plain"), job]
        watches = [opener(each) if opener else open_jobs.enter_context(in_a_process(each)) for each in jobs]
        for _ in range(turns):
            for watch in watches:
                watch.turn()
                tick()
        plain, ours = (watch.result() for watch in watches)
    return [plain, _against(ours, plain)]


def _case(
    settings: BenchSettings, found: Sequence[Measurement], tick: Callable[[], None], opener: Opener | None
) -> list[Measurement]:
    """Return a case at the published steps in the plain form, computed from one evaluation, and ours, drawn once."""
    slices = settings.case_slices
    job = _job(settings, Stage.SYNTHESISER, "case")
    job = replace(job, shape=replace(job.shape, rows=slices), sampling_steps=settings.sampling_steps)
    with ExitStack() as open_jobs:
        watch = opener(job) if opener else open_jobs.enter_context(in_a_process(job))
        watch.turn()
        tick()
        ours = watch.result()
    slice_alone = next(
        each for each in found if (each.model, each.task, each.form) == (Stage.SYNTHESISER, "inference", "plain")
    )
    evaluations = slices * HYPOTHESES * PUBLISHED_STEPS
    plain = slice_alone.model_copy(
        update={
            "task": "case",
            "rows": slices,
            "sampling_steps": PUBLISHED_STEPS,
            "flops": None if slice_alone.flops is None else slice_alone.flops * evaluations,
            "seconds": _times(slice_alone.seconds, evaluations),
            "processor_seconds": _times(slice_alone.processor_seconds, evaluations),
            "extrapolated": True,
        }
    )
    return [plain, _against(ours, plain)]


def _against(ours: Measurement, plain: Measurement) -> Measurement:
    faster = plain.seconds.median / ours.seconds.median
    less = plain.processor_seconds.median / ours.processor_seconds.median
    return ours.model_copy(update={"times_faster": faster, "times_less_processor": less})


def _times(spread: Spread, factor: int) -> Spread:
    return spread.model_copy(
        update={name: getattr(spread, name) * factor for name in ("median", "least", "most")},
    )


class _Remote:
    """A stopwatch at the other end of a pipe."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._answer()

    def turn(self) -> None:
        """See Stopwatch."""
        self._connection.send("turn")
        self._answer()

    def result(self) -> Measurement:
        """See Stopwatch."""
        self._connection.send("result")
        return Measurement.model_validate_json(self._answer())

    def _answer(self) -> str:
        try:
            return str(self._connection.recv())
        except EOFError:
            raise GliofedError(
                "a measuring process ended early: its own message stands above, or memory ran out; measure one model "
                "at a time with --model, or where there is more memory"
            ) from None


@contextmanager
def in_a_process(job: Job) -> Iterator[Measured]:
    """Prepare the job in a fresh process, so that allocator, caches and memory are its own; the process ends here."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs, job), daemon=True)
    process.start()
    theirs.close()
    try:
        yield _Remote(ours)
    finally:
        ours.close()
        process.join(END_S)
        if process.is_alive():
            process.terminate()


def _serve(connection: Connection, job: Job) -> None:
    """Answer each word with what it asks for, until the other end is gone."""
    watch = Stopwatch(job)
    connection.send("ready")
    while True:
        try:
            word = connection.recv()
        except EOFError:
            return
        if word == "turn":
            watch.turn()
            connection.send("done")
        else:
            connection.send(watch.result().model_dump_json())
