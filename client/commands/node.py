"""The verbs of taking part: `serve`, and `stop` for one run."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Annotated

import typer

from common import console
from common.errors import StudyError

PROGRAM = "gliofed-client"


def register(app: typer.Typer) -> None:
    """Add the verbs to `app`."""
    app.command(epilog=console.epilog(f"{PROGRAM} serve --site site.toml"))(serve)
    app.command(epilog=console.epilog(f"{PROGRAM} stop 0123456789abcdef --site site.toml"))(stop)


def serve(
    site: Annotated[Path, typer.Option("--site", help="The site's site.toml.")] = Path("site.toml"),
) -> None:
    """Take part: keep one TLS connection to the server and answer it, until SIGTERM or Ctrl-C.

    What trains is the code installed here, under plans that a person here approved, and nothing else. Logs are in the
    workdir's logs/. While the server is away it is tried again, for ever. Ends with exit code 6 where a program of this
    machine cannot be kept alive.
    """
    from client.enrolment.folder import SiteFolder
    from client.enrolment.joining import require_joined
    from client.node.serving import serve as serve_site
    from common import logs
    from common.processes.service import ended_by_signal

    os.umask(0o077)  # what it keeps is its own user's to read
    logs.configure("info")
    place = SiteFolder(site)

    def ready() -> None:
        console.print_line(f"{place.config.name}: serves {require_joined(place).address}; logs in {place.logs}")

    with ended_by_signal() as over:
        serve_site(place, over, ready)


def stop(
    run: Annotated[str, typer.Argument(show_default=False, help="The run's identifier, 16 hexadecimal digits.")],
    site: Annotated[Path, typer.Option("--site", show_default=False, help="The site's site.toml.")],
) -> None:
    """Take no task of a run any more, and forget what was kept for it; a round at work ends at its next step."""
    from client.config import load_site
    from client.consent.decisions import stop as stop_here

    if not re.fullmatch(r"[0-9a-f]{16}", run):
        raise StudyError(f"{run!r}: no run's identifier; give the 16 hexadecimal digits that the coordinator names")
    stop_here(load_site(site), run)
    console.print_line(f"run {run} is over at this site")
