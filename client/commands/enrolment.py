"""Verbs with which a hospital joins a consortium: init, request, join, status."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from common import console

if TYPE_CHECKING:
    from client.enrolment.folder import SiteFolder
    from client.enrolment.status import SiteStatus

PROGRAM = "gliofed-client"
SiteOption = Annotated[Path, typer.Option("--site", help="The site's site.toml.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]
HERE = Path("site.toml")
SOON_DAYS = 30
"""From how few days on an end is pointed out."""


def register(app: typer.Typer) -> None:
    """Add the verbs to `app`."""
    lines: dict[Callable[..., None], str] = {
        init: "init ./gliofed --name hospital-a --scans /data/scans",
        request: "request --new-key --site site.toml",
        join: "join hospital-a.zip --site site.toml",
        status: "status --site site.toml",
    }
    for verb, line in lines.items():
        app.command(epilog=console.epilog(f"{PROGRAM} {line}"))(verb)


def init(
    site: Annotated[Path, typer.Argument(show_default=False, help="Folder for the site's key and settings.")],
    name: Annotated[str, typer.Option(show_default=False, help="Lower-case letters, digits and hyphens.")],
    scans: Annotated[Path, typer.Option(show_default=False, help="Folder of the scans; never written to.")],
    as_json: JsonOption = False,
) -> None:
    """Begin a site: a key born here, a site.toml that allows little, and a request to be admitted.

    Send the request to the coordinator, and read the fingerprint to a person there, over the telephone.
    """
    from client.enrolment.beginning import begin_site
    from client.enrolment.folder import SiteFolder

    place = SiteFolder(site / HERE)
    public = begin_site(place, name, scans)
    _print_request(place, public.fingerprint, as_json)


def request(
    site: SiteOption = HERE,
    new_key: Annotated[
        bool, typer.Option("--new-key", help="Make a new key, which is in use once a kit admits the site with it.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Write the request again, or one for a new key: where the old one was revoked, or is to be replaced."""
    from client.enrolment.beginning import ask
    from client.enrolment.folder import SiteFolder

    place = SiteFolder(site)
    public = ask(place, new_key)
    _print_request(place, public.fingerprint, as_json)


def join(
    kit: Annotated[Path, typer.Argument(show_default=False, help="The zip that the coordinator sent.")],
    site: SiteOption = HERE,
    fingerprint: Annotated[
        str | None,
        typer.Option(show_default=False, help="The signer's, as the coordinator read it out; asked for otherwise."),
    ] = None,
) -> None:
    """Join a consortium with the kit of its coordinator, or take a newer kit.

    Shows who signed the kit and asks for the fingerprint that the coordinator read to you; a newer kit of the same
    signer is taken without asking. All of the kit is put in place, or nothing.
    """
    from client.enrolment.folder import SiteFolder
    from client.enrolment.joining import check_seat, check_signer, trusted_signer
    from client.enrolment.joining import join as join_with
    from common.files import read_at_most
    from common.identity.kit import MAX_KIT, open_kit

    place = SiteFolder(site)
    opened = open_kit(read_at_most(kit, MAX_KIT), str(kit))
    check_seat(place, opened)
    console.print_line(f"consortium {opened.card.name} at {opened.card.address}, signed by {opened.signer.fingerprint}")
    if fingerprint is not None or opened.signer != trusted_signer(place):
        check_signer(opened, fingerprint or typer.prompt("fingerprint that the coordinator read to you", err=True))
    join_with(place, opened)
    console.print_line(f"joined; on the roster: {', '.join(sorted(opened.roster.sites))}")


def status(
    site: SiteOption = HERE,
    look: Annotated[
        bool, typer.Option("--look", help="Connect to the server once, and note the certificate that it shows.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Say where this site stands: its key's fingerprint, the kit it joined with, days left, plans approved."""
    from dataclasses import asdict

    from client.enrolment.folder import SiteFolder
    from client.enrolment.server_certificate import see_server
    from client.enrolment.status import status_of

    place = SiteFolder(site)
    if look:
        see_server(place)
    facts = status_of(place)
    if as_json:
        console.print_json(asdict(facts))
        return
    rows = [
        ("key's fingerprint", facts.fingerprint),
        ("next key's fingerprint", facts.next_fingerprint or "-"),
        ("GlioFed", facts.code_version),
        ("consortium", f"{facts.consortium} at {facts.address}" if facts.consortium else "not joined"),
        ("kit of", facts.kit_issued or "-"),
        ("sites on the roster", ", ".join(facts.sites) or "-"),
        ("authority's certificate", _days(facts.authority_days)),
        ("server's certificate, as last seen", _server_days(facts)),
        ("plans approved", str(facts.approved_plans)),
    ]
    console.print_table(f"site {facts.name}", ["fact", "value"], rows)


def _print_request(place: SiteFolder, fingerprint: str, as_json: bool) -> None:
    if as_json:
        console.print_json({"request": str(place.request), "site": str(place.toml), "fingerprint": fingerprint})
        return
    console.print_line(f"send to the coordinator: {place.request}")
    console.print_line(f"read to the coordinator over the telephone: {fingerprint}")
    console.print_line(f"what this site allows: {place.toml}")


def _server_days(facts: SiteStatus) -> str:
    if facts.inspected_by is not None:
        return f"hidden: something opens TLS on the way, with a certificate by {facts.inspected_by!r}"
    return _days(facts.server_days)


def _days(days: float | None) -> str:
    if days is None:
        return "unknown; look with --look"
    if days < 0:
        return f"ended {-days:.0f} days ago"
    return f"{days:.0f} days left" + ("; ask the coordinator for a new one" if days < SOON_DAYS else "")
