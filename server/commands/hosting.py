"""Verbs about the coordinator's own programs: serve, bundle, nginx."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from common import console

PROGRAM = "gliofed-server"
FolderArgument = Annotated[Path, typer.Argument(show_default=False, help="The consortium's folder.")]


def register(app: typer.Typer) -> None:
    """Add the verbs to `app`."""
    lines = {
        serve: "serve ./consortium",
        bundle: "bundle ./consortium --signing-key /media/usb/signing.key",
        nginx: "nginx ./consortium",
    }
    for verb, line in lines.items():
        app.command(epilog=console.epilog(f"{PROGRAM} {line}"))(verb)


def serve(consortium: FolderArgument) -> None:
    """Run SuperLink, executor and bundle hub on the loopback address until SIGTERM or Ctrl-C.

    Each writes its own log below flower/logs; one that dies is started again. Sites reach nothing of it but what nginx
    lets through: see the verb nginx. Ends with exit code 6 where a program cannot be kept alive.
    """
    from common import logs
    from common.processes.service import ended_by_signal
    from server.consortium.folder import Consortium
    from server.hosting.serving import serve as serve_consortium

    os.umask(0o077)  # what it keeps is its own user's to read
    logs.configure("info")
    place = Consortium.open(consortium)

    def ready() -> None:
        console.print_line(f"{place.settings.name}: SuperLink on 127.0.0.1:{place.settings.fleet_port}")

    with ended_by_signal() as over:
        serve_consortium(place, over, ready)


def bundle(
    consortium: FolderArgument,
    signing_key: Annotated[
        Path | None,
        typer.Option("--signing-key", show_default=False, help="The signing key, where it lies elsewhere."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for machines.")] = False,
) -> None:
    """Bundle the installed code and sign it: what Flower ships, and what sites compare with their own.

    Needs no network and no server. On a machine apart, give a folder with consortium.toml and signing.pub, and carry
    its bundle/ to the server; install the same version of GlioFed on both.
    """
    from common.errors import StudyError
    from common.identity.signing import SigningKey, VerifyKey
    from server.consortium.folder import Consortium
    from server.hosting.bundle import write_bundle

    place = Consortium.open(consortium)
    key = SigningKey.load(signing_key or place.signing_key)
    if key.public != VerifyKey.load(place.signing_pub):
        raise StudyError(
            f"{signing_key or place.signing_key}: is not the key of {place.signing_pub}, which the sites trust; "
            "give that one"
        )
    card = write_bundle(place.bundle, key)
    if as_json:
        console.print_json(card.model_dump())
        return
    console.print_line(f"{place.bundle}: GlioFed {card.code_version}, signed")
    console.print_line(f"SHA-256 {card.sha256}")


def nginx(
    consortium: FolderArgument,
    alone: Annotated[
        bool, typer.Option("--alone", help="A whole configuration, for an nginx that serves nothing else.")
    ] = False,
) -> None:
    """Print the nginx configuration that lets sites reach the Fleet API and nothing else.

    Put it into /etc/nginx/conf.d/gliofed.conf, run `nginx -t`, reload. It names the consortium's certificate where it
    lies; after `gliofed-server renew` a reload is enough.
    """
    from server.consortium.folder import Consortium
    from server.hosting.nginx import configuration, make_folders

    place = Consortium.open(consortium)
    if alone:
        make_folders(place)
    console.print_line(configuration(place, alone).rstrip())
