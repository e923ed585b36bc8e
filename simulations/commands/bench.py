"""The verb `bench`: how long models take."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from common import console

PROGRAM = "gliofed-sim"


def register(app: typer.Typer) -> None:
    """Add the verb to `gliofed-sim`."""
    app.command(epilog=console.epilog(f"{PROGRAM} bench --model synthesiser --size paper --out bench.json"))(bench)


class DeviceChoice(StrEnum):
    """What is measured."""

    CPU = "cpu"
    CUDA = "cuda"


class ModelChoice(StrEnum):
    """Whose model is measured."""

    GENERATOR = "generator"
    SYNTHESISER = "synthesiser"
    SEGMENTER = "segmenter"
    IDENTIFIER = "identifier"
    MAPS = "maps"


class SizeChoice(StrEnum):
    """How large the models are."""

    TINY = "tiny"
    PAPER = "paper"


def bench(
    out: Annotated[Path, typer.Option(show_default=False, help="File for all figures, JSON.")],
    model: Annotated[
        list[ModelChoice] | None,
        typer.Option(show_default=False, help="Whose model; may be given again; default: all."),
    ] = None,
    size: Annotated[
        SizeChoice, typer.Option(help="tiny takes a minute, paper an hour on two cores.")
    ] = SizeChoice.TINY,
    device: Annotated[DeviceChoice, typer.Option(help="What is measured.")] = DeviceChoice.CPU,
    turns: Annotated[int, typer.Option(min=1, max=1000, help="Repetitions; a case is drawn once.")] = 5,
    batch: Annotated[
        int | None,
        typer.Option(min=1, max=1024, show_default=False, help="Slices of a training step; default: the papers'."),
    ] = None,
    steps: Annotated[int, typer.Option(min=1, max=1000, help="Sampling steps of a case.")] = 10,
    case_slices: Annotated[int, typer.Option(min=0, max=1000, help="Slices of a case; 0 leaves it out.")] = 19,
    as_json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON instead of the table.")] = False,
) -> None:
    """Time each model's training step and inference against its plain form, on random slices.

    Figures mean something on an otherwise idle machine alone; the file says how loaded it was.
    """
    from common.files import write_whole
    from simulations.bench.bench import BenchSettings, run_bench
    from simulations.bench.table import COLUMNS, row_of
    from simulations.bench.workloads import MEASURED

    stages = tuple(stage for stage in MEASURED if not model or stage.value in model)
    settings = BenchSettings(stages, size.value, device.value, turns, steps, case_slices, batch)
    with console.progress("measuring") as advance:
        report = run_bench(settings, advance)
    write_whole(out, report.model_dump_json(indent=2).encode() + b"\n")
    if as_json:
        console.print_json(report.model_dump(mode="json"))
    else:
        machine = report.machine
        title = f"{machine.device}, {machine.arithmetic}, {console.count(machine.threads, 'thread')}, {report.date}"
        console.print_table(title, COLUMNS, [row_of(measured) for measured in report.measurements])
