"""What `gliofed-sim bench` writes: a versioned file that names device, shapes and figures, but no host or path."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from common.settings.frozen import Frozen
from common.settings.stages import Stage

Form = Literal["ours", "plain"]
Task = Literal["training step", "inference", "case"]
Size = Literal["tiny", "paper"]
DeviceName = Literal["cpu", "cuda"]


class Machine(Frozen):
    """Where it was measured."""

    device: Annotated[str, Field(description="processor or GPU, as it names itself")]
    arithmetic: Annotated[str, Field(description="widest instructions that PyTorch uses: AVX2, AVX512, AMX, CUDA x.y")]
    processors: Annotated[int, Field(description="processors of the machine")]
    threads: Annotated[int, Field(description="threads of each measurement")]
    torch: Annotated[str, Field(description="version of PyTorch")]
    load_before: Annotated[float, Field(description="load average over a minute before the bench: others' work")]


class Spread(Frozen):
    """A repeated measurement, warm-up left out."""

    median: Annotated[float, Field(description="of all turns")]
    least: Annotated[float, Field(description="of all turns")]
    most: Annotated[float, Field(description="of all turns")]
    turns: Annotated[int, Field(description="repetitions; each does a short task several times over")]


class Measurement(Frozen):
    """One model doing one task in one form, in a process of its own."""

    model: Annotated[Stage, Field(description="whose stage")]
    task: Annotated[Task, Field(description="a whole optimiser step; one slice; a whole case under both hypotheses")]
    form: Annotated[Form, Field(description="`ours` as it trains and draws; `plain` eager, fp32, default allocator")]
    network: Annotated[str, Field(description="class of the network")]
    precision: Annotated[Literal["bf16", "fp32"], Field(description="of convolutions and matrix products")]
    rows: Annotated[int, Field(description="slices in the batch; slices of the case")]
    height: Annotated[int, Field(description="of each slice")]
    width: Annotated[int, Field(description="of each slice")]
    sampling_steps: Annotated[int | None, Field(description="network evaluations of a case, for each hypothesis")] = (
        None
    )
    parameters: Annotated[int, Field(description="numbers that are trained")]
    flops: Annotated[int | None, Field(description="counted operations of convolutions and matrix products")]
    seconds: Annotated[Spread, Field(description="on the clock")]
    processor_seconds: Annotated[Spread, Field(description="of all threads: hardly grows with others' load")]
    extrapolated: Annotated[bool, Field(description="computed from the seconds of one slice, not run")] = False
    convolution_rate: Annotated[float, Field(description="best measured in this process, FLOP/s")]
    matrix_rate: Annotated[float, Field(description="best measured in this process, FLOP/s")]
    convolution_share: Annotated[float | None, Field(description="counted operations a second over that rate")] = None
    matrix_share: Annotated[float | None, Field(description="counted operations a second over that rate")] = None
    peak_memory_bytes: Annotated[int | None, Field(description="high-water mark less what the libraries hold")] = None
    counted_memory_bytes: Annotated[
        int | None, Field(description="weights, gradients, optimiser and activations kept for the backward pass")
    ] = None
    load_average: Annotated[float, Field(description="mean over the turns: above `threads`, others took part")]
    times_faster: Annotated[float | None, Field(description="median seconds of the plain form over these")] = None
    times_less_processor: Annotated[float | None, Field(description="the same of processor seconds")] = None


class BenchReport(Frozen):
    """A run of the bench."""

    schema_version: Annotated[Literal[1], Field(description="version of this schema")] = 1
    gliofed: Annotated[str, Field(description="version of GlioFed")]
    date: Annotated[str, Field(description="day, UTC")]
    command: Annotated[str, Field(description="what measures the same again")]
    machine: Annotated[Machine, Field(description="where it was measured")]
    measurements: Annotated[tuple[Measurement, ...], Field(description="plain form and ours, one after the other")]
