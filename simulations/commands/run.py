"""The verb `run`: a whole consortium from scans to the report."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from common import console
from simulations.commands.options import PatientsOption, WorkersOption, processors

if TYPE_CHECKING:
    from simulations.report.summary import Summary

PROGRAM = "gliofed-sim"


def register(app: typer.Typer) -> None:
    """Add the verb to `gliofed-sim`."""
    app.command(epilog=console.epilog(f"{PROGRAM} run simulations/scenarios/three-hospitals.toml --out demo"))(run)


class EngineName(StrEnum):
    """Where the sites run."""

    IN_PROCESS = "in-process"
    RAY = "ray"


class ScaleChoice(StrEnum):
    """How large a run is."""

    TINY = "tiny"
    SMALL = "small"


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
        workers=processors(workers),
    )
    summary = run_study(settings)
    if as_json:
        console.print_json(summary.model_dump(mode="json"))
    else:
        print_verdict(summary, out)


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
