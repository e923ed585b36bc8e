"""The verbs about MLflow: run its server, and bring it up to date."""

from __future__ import annotations

import os
import threading
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from common import console
from common.errors import GliofedError

if TYPE_CHECKING:
    from server.consortium.folder import Consortium

PROGRAM = "gliofed-server"

ConsortiumArgument = Annotated[Path, typer.Argument(show_default=False, help="The consortium's folder.")]


def register(app: typer.Typer) -> None:
    """Add the verbs."""
    app.command(epilog=console.epilog(f"{PROGRAM} tracking ./consortium"))(tracking)
    app.command(epilog=console.epilog(f"{PROGRAM} mirror ./consortium"))(mirror)


def tracking(consortium: ConsortiumArgument) -> None:
    """Run MLflow on 127.0.0.1 until it is ended: plots of every run, and the registry of releases.

    Telemetry, jobs, gateway, assistant and unpickling are off. It has no login: leave it on the loopback address, and
    look at it through a tunnel. What it shows is brought by the verb mirror.
    """
    from server.consortium.folder import Consortium
    from server.tracking.program import address_of, folder_of, tracking_command, tracking_environment

    opened = Consortium.open(consortium)
    command = tracking_command(opened)
    console.print_line(f"MLflow of {opened.settings.name}: {address_of(opened)}")
    os.chdir(folder_of(opened))
    os.execve(command[0], command, tracking_environment())  # noqa: S606 (our own interpreter, words of our own)


def mirror(
    consortium: ConsortiumArgument,
    every: Annotated[
        float | None, typer.Option(show_default=False, min=1.0, help="Go on, once in so many seconds, until ended.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for machines.")] = False,
) -> None:
    """Bring MLflow up to date with runs and promoted releases. No run waits for it; done twice it changes nothing.

    With --every it goes on, through times in which no MLflow answers too.
    """
    from server.consortium.folder import Consortium

    opened = Consortium.open(consortium)
    if every is None:
        _once(opened, as_json)
        return
    while True:
        try:
            _once(opened, as_json)
        except GliofedError as error:
            console.warn(str(error))
        threading.Event().wait(every)


def _once(consortium: Consortium, as_json: bool) -> None:
    from server.tracking.mirror import mirror as mirror_all

    with console.progress("mirroring runs") as advance:
        done = mirror_all(consortium, on_run=advance)
    if as_json:
        console.print_json(asdict(done))
        return
    console.print_line(
        f"{console.count(done.runs, 'run')} looked at, {console.count(done.numbers, 'number')} and "
        f"{console.count(done.versions, 'version')} written"
    )
    for name, why in done.left_out.items():
        console.warn(f"{name}: left out: {why}")
