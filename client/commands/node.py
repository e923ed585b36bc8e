"""The verb that lets a site take part: serve."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from common import console

PROGRAM = "gliofed-client"


def register(app: typer.Typer) -> None:
    """Add the verb to `app`."""
    app.command(epilog=console.epilog(f"{PROGRAM} serve --site site.toml"))(serve)


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
