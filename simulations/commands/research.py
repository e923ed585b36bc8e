"""The verbs of methods research: `ablate` leaves parts out, `samplers` draws in other steps, `attack` attacks."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from common import console
from simulations.commands.options import WorkersOption, processors

PROGRAM = "gliofed-sim"


def register(app: typer.Typer) -> None:
    """Add the verbs to `gliofed-sim`."""
    line = f"{PROGRAM} ablate simulations/scenarios/ablation.toml --out ablation --seeds 3"
    app.command(epilog=console.epilog(line))(ablate)
    app.command(epilog=console.epilog(f"{PROGRAM} samplers demo/release --out samplers"))(samplers)
    app.command(epilog=console.epilog(f"{PROGRAM} attack simulations/scenarios/attack.toml --out attack"))(attack)


class PartName(StrEnum):
    """A table of the ablations."""

    GENERATOR = "generator"
    SYNTHESIS = "synthesis"
    STEPS = "steps"


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
    settings = AblationSettings(study, out, seeds, patients, parts, processors(workers))
    with console.progress("seeds") as advance:
        text = run_ablations(settings, advance)
    console.print_line(text)


def samplers(
    release: Annotated[Path, typer.Argument(show_default=False, help="Folder of a release of phantom hospitals.")],
    out: Annotated[Path, typer.Option(show_default=False, help="Folder for phantoms, results and samplers.md.")],
    patients: Annotated[int, typer.Option(min=4, max=10_000, help="Phantoms a site; half are measured.")] = 22,
    workers: WorkersOption = None,
) -> None:
    """Draw unseen phantoms by a release's networks, with each sampler in few and in many steps, and print the table.

    What is there already is not drawn again: a comparison that was cut goes on.
    """
    from simulations.ablations.released import SamplerSettings, compare_samplers

    with console.progress("samplers") as advance:
        text = compare_samplers(SamplerSettings(release, out, patients, processors(workers)), advance)
    console.print_line(text)


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
