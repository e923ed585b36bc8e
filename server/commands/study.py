"""The verb `check`: what a study asks for, before anybody is asked."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from common import console
from server.commands.cells import rows_of, text_of

if TYPE_CHECKING:
    from common.study import Study

PROGRAM = "gliofed-server"


def register(app: typer.Typer) -> None:
    """Add the verb to `gliofed-server`."""
    app.command(epilog=console.epilog(f"{PROGRAM} check study.toml"))(check)


def check(
    study: Annotated[Path, typer.Argument(show_default=False, help="The study.toml.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for machines.")] = False,
) -> None:
    """Parse a study and say what it asks for, with the digest that each site approves. Changes nothing."""
    from common.study import load_study

    facts = _study_facts(load_study(study))
    if as_json:
        console.print_json(facts)
        return
    rows = [(name, text_of(value)) for name, value in facts.items() if name != "stages"]
    console.print_table(f"study {facts['name']}", ["fact", "value"], rows)
    columns = ["stage", "rounds", "local steps", "batch size", "learning rate", "EMA decay"]
    console.print_table("stages, in order", columns, rows_of(facts["stages"]))


def _study_facts(study: Study) -> dict[str, Any]:
    """Return what a study asks for, as plain values."""
    from common.study import code_version

    stages = [(stage, study.stages.of(stage)) for stage in study.stages.present]
    federation, grid = study.federation, study.grid
    spacing_mm = " x ".join(f"{step:g}" for step in grid.spacing_mm)
    return {
        "name": study.name,
        "digest": study.digest,
        "code_version": code_version(),
        "size": study.size,
        "seed": study.seed,
        "sites": list(study.sites),
        "reference_site": study.reference_site,
        "sequences": [sequence.value for sequence in study.sequences],
        "grid": f"{grid.shape[0]} x {grid.shape[1]} at {spacing_mm} mm",
        "quorum": f"{federation.quorum} of {len(study.sites)}",
        "required_sites": list(federation.required),
        "deadline_s": federation.deadline_s,
        "weight_cap_patients": federation.weight_cap_patients,
        "secure_aggregation": _sums(study),
        "holdout_fraction": study.data.holdout_fraction,
        "minimum_patients": study.data.minimum_patients,
        "minimum_count_behind_a_number": study.reporting.minimum_count,
        "stages": [
            {
                "stage": stage.value,
                "rounds": settings.rounds,
                "local_steps": settings.local_steps,
                "batch_size": settings.batch_size,
                "learning_rate": settings.learning_rate,
                "ema_decay": settings.ema_decay,
            }
            for stage, settings in stages
            if settings is not None
        ],
    }


def _sums(study: Study) -> str:
    """Return whether updates are summed under masks, and how many sites open a sum."""
    settings, sites = study.secure_aggregation, len(study.sites)
    return f"sums alone, opened by {settings.needed(sites)} of {sites}" if settings.enabled else "off"
