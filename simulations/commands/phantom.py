"""The verb `phantom`: hospitals full of drawn patients."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from common import console
from simulations.commands.options import PatientsOption, WorkersOption, processors

PROGRAM = "gliofed-sim"


def register(app: typer.Typer) -> None:
    """Add the verb to `gliofed-sim`."""
    line = f"{PROGRAM} phantom ./phantoms --scenario three-hospitals --patients 4 --seed 1"
    app.command(epilog=console.epilog(line))(phantom)


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
            out,
            load_scenario(scenario),
            patients,
            seed,
            spacing_mm,
            with_skull,
            processors(workers),
            on_patient=advance,
        )
    console.print_line(f"{cohort.sites}")
