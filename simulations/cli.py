"""`gliofed-sim`: a whole consortium on one machine, for anyone without data and for methods research.

Exit codes: 0 done, targets met or not (missed ones are printed and stand in the report); 2 the command line or the
study is wrong; 3 scans are wrong; 4 a release or checkpoint is damaged; 6 a run did not reach its quorum; 130
interrupted, run again with --resume.
"""

from __future__ import annotations

import os
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from common import console

if TYPE_CHECKING:
    from simulations.report.summary import Summary

PROGRAM = "gliofed-sim"

app = console.new_app(
    "Train, complete and measure a whole consortium on one machine, on phantoms or on folders of real scans.",
    f"{PROGRAM} run simulations/scenarios/three-hospitals.toml --out demo",
)


class EngineName(StrEnum):
    """Where the sites run."""

    IN_PROCESS = "in-process"
    RAY = "ray"


class ScaleChoice(StrEnum):
    """How large a run is."""

    TINY = "tiny"
    SMALL = "small"


class PartName(StrEnum):
    """A table of the ablations."""

    GENERATOR = "generator"
    SYNTHESIS = "synthesis"
    STEPS = "steps"


PatientsOption = Annotated[
    int | None,
    typer.Option("--patients", min=2, max=100_000, show_default=False, help="Phantoms a site; default: the cohort's."),
]
WorkersOption = Annotated[
    int | None,
    typer.Option("--workers", min=1, max=256, show_default=False, help="Processors to use; default: all."),
]


@app.command(epilog=console.epilog(f"{PROGRAM} phantom ./phantoms --scenario three-hospitals --patients 4 --seed 1"))
def phantom(
    out: Annotated[Path, typer.Argument(show_default=False, help="Folder to write sites/, truth/ and cohort.json to.")],
    scenario: Annotated[
        str, typer.Option(help="Name of a scenario that ships with GlioFed, or path of a .cohort.toml.")
    ] = "three-hospitals",
    patients: PatientsOption = None,
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same bytes.")] = 1,
    spacing_mm: Annotated[float, typer.Option(min=1.0, max=4.0, help="Voxel size before slices are thickened.")] = 2.0,
    with_skull: Annotated[bool, typer.Option("--with-skull", help="Leave skull and scalp on.")] = False,
    workers: WorkersOption = None,
) -> None:
    """Write site folders of phantom NIfTI, each in its hospital's layout and with its hospital's gaps.

    The truth folder holds every sequence and label of every patient; training never reads it.
    """
    from simulations.phantom.cohort import write_cohort
    from simulations.scenario import load_scenario

    with console.progress("drawing phantoms") as advance:
        cohort = write_cohort(
            out, load_scenario(scenario), patients, seed, spacing_mm, with_skull, _all_if(workers), on_patient=advance
        )
    console.print_line(f"{cohort.sites}")


@app.command(epilog=console.epilog(f"{PROGRAM} run simulations/scenarios/three-hospitals.toml --out demo"))
def run(
    study: Annotated[Path, typer.Argument(show_default=False, help="study.toml: what is trained, and how.")],
    out: Annotated[Path, typer.Option(show_default=False, help="Folder for all that the run leaves behind.")],
    sites: Annotated[
        Path | None,
        typer.Option(
            show_default=False,
            help="Folder with <site>/ (scans) or <site>.toml for each site; default: phantoms of the study's cohort.",
        ),
    ] = None,
    engine: Annotated[EngineName, typer.Option(help="Where the sites run.")] = EngineName.IN_PROCESS,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in the folder, if any.")] = False,
    scale: Annotated[
        ScaleChoice, typer.Option(help="tiny: as the files say; small: more rounds and phantoms, up to 45 minutes.")
    ] = ScaleChoice.TINY,
    patients: PatientsOption = None,
    seed: Annotated[
        int | None, typer.Option(min=0, show_default=False, help="Seed of the phantoms; default: the study's.")
    ] = None,
    identifier_weights: Annotated[
        Path | None,
        typer.Option(
            show_default=False, help="First weights of the identifier (safetensors), as the study names them."
        ),
    ] = None,
    start_from: Annotated[
        Path | None,
        typer.Option(show_default=False, help="Release that the generator goes on from, as the study names it."),
    ] = None,
    workers: WorkersOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print summary.json instead of the verdict.")] = False,
) -> None:
    """Train a consortium, release, complete its patients, measure, and write summary.json and report.html.

    Targets that were missed are printed and shown; they do not change the exit code.
    """
    from simulations.run import RunSettings
    from simulations.run import run as run_study

    settings = RunSettings(
        study=study,
        out=out,
        sites=sites,
        engine=engine.value,
        resume=resume,
        scale=scale.value,
        patients=patients,
        seed=seed,
        identifier_weights=identifier_weights,
        start_from=start_from,
        workers=_all_if(workers),
    )
    summary = run_study(settings)
    if as_json:
        console.print_json(summary.model_dump(mode="json"))
    else:
        print_verdict(summary, out)


@app.command(epilog=console.epilog(f"{PROGRAM} ablate simulations/scenarios/ablation.toml --out ablation --seeds 3"))
def ablate(
    study: Annotated[Path, typer.Argument(show_default=False, help="study.toml that the arms change.")],
    out: Annotated[Path, typer.Option(show_default=False, help="Folder for phantoms, weights, results, tables.md.")],
    seeds: Annotated[int, typer.Option(min=1, max=100, help="Seeds of phantoms and weights.")] = 3,
    patients: Annotated[int, typer.Option(min=4, max=10_000, help="Phantoms a site.")] = 22,
    part: Annotated[
        list[PartName] | None, typer.Option(show_default=False, help="Tables to make; default: all.")
    ] = None,
    workers: WorkersOption = None,
) -> None:
    """Leave one part of a method out at a time, on fresh phantoms under several seeds, and print the tables.

    What is there already is not trained again: a run that was cut goes on.
    """
    from simulations.ablations.run import PARTS, AblationSettings, run_ablations

    parts = tuple(each.value for each in part) if part else PARTS
    settings = AblationSettings(study, out, seeds, patients, parts, _all_if(workers))
    with console.progress("seeds") as advance:
        text = run_ablations(settings, advance)
    console.print_line(text)


@app.command(epilog=console.epilog(f"{PROGRAM} attack simulations/scenarios/attack.toml --out attack"))
def attack(
    study: Annotated[Path, typer.Argument(show_default=False, help="study.toml with maps and an assessment.")],
    out: Annotated[Path, typer.Option(show_default=False, help="Folder for phantoms, the run, and tables.md.")],
    models: Annotated[int, typer.Option(min=6, max=256, help="Shadow models, an even number.")] = 8,
    steps: Annotated[
        list[int] | None, typer.Option(min=1, show_default=False, help="Attack them after so many; default: 100, 400.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the phantoms.")] = 1,
) -> None:
    """Attack a release on phantoms: membership and copies at the site, shadow models, inverted updates.

    Prints the tables; nothing here says anything of another release.
    """
    import torch

    from simulations.attacks.run import AttackSettings, run_attacks

    torch.set_num_threads(1)
    after = tuple(sorted(set(steps))) if steps else AttackSettings.after
    with console.progress("shadow models") as advance:
        text = run_attacks(AttackSettings(study, out, models + models % 2, after, seed), advance)
    console.print_line(text)


def print_verdict(summary: Summary, out: Path) -> None:
    """Print every target with its verdict, what was missed last so that it stays in sight, and where the report is."""
    rows = [
        [
            target.name,
            "-" if target.value is None else f"{target.value:.2f}",
            "" if target.limit is None else f"{'≤' if target.direction == 'at most' else '≥'} {target.limit:g}",
            target.status,
            target.detail,
        ]
        for target in summary.targets
    ]
    title = f"{summary.study.name}: {summary.data.kind}, {summary.data.evaluation} evaluation"
    console.print_table(title, ["target", "reached", "bound", "verdict", "detail"], rows)
    for failure in summary.failures:
        console.print_line(f"not evaluated: {failure}")
    missed = ", ".join(target.name for target in summary.missed)
    judged = any(target.status in ("met", "missed") for target in summary.targets)
    console.print_line(f"missed: {missed}" if missed else "no target missed" if judged else "no target is judged")
    console.print_line(f"report: {out / 'report.html'}")


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


@app.command(epilog=console.epilog(f"{PROGRAM} bench --model synthesiser --size paper --out bench.json"))
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
    settings = BenchSettings(stages, size.value, device.value, turns, steps, case_slices)
    with console.progress("measuring") as advance:
        report = run_bench(settings, advance)
    write_whole(out, report.model_dump_json(indent=2).encode() + b"\n")
    if as_json:
        console.print_json(report.model_dump(mode="json"))
    else:
        machine = report.machine
        title = f"{machine.device}, {machine.arithmetic}, {console.count(machine.threads, 'thread')}, {report.date}"
        console.print_table(title, COLUMNS, [row_of(measured) for measured in report.measurements])


def _all_if(workers: int | None) -> int:
    """Return `workers`, all processors where none are named."""
    return workers or os.cpu_count() or 1


def main() -> None:
    """Entry point of `gliofed-sim`."""
    sys.exit(console.run(app, PROGRAM))
