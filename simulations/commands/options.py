"""Options that several verbs take, and what they mean where they are left out."""

from __future__ import annotations

import os
from typing import Annotated

import typer

PatientsOption = Annotated[
    int | None,
    typer.Option("--patients", min=2, max=100_000, show_default=False, help="Phantoms a site; default: the cohort's."),
]
WorkersOption = Annotated[
    int | None,
    typer.Option("--workers", min=1, max=256, show_default=False, help="Processors to use; default: all."),
]


def processors(workers: int | None) -> int:
    """Return `workers`, all processors where none are named."""
    return workers or os.cpu_count() or 1
