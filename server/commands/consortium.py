"""Verbs about who takes part: init, admit, sign, renew, revoke."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from common import console

if TYPE_CHECKING:
    from server.consortium.folder import Consortium
    from server.consortium.sealing import Sealed

PROGRAM = "gliofed-server"
FolderArgument = Annotated[Path, typer.Argument(show_default=False, help="The consortium's folder.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]
KeyOption = Annotated[
    Path | None,
    typer.Option("--signing-key", show_default=False, help="The signing key, where it lies elsewhere."),
]


def register(app: typer.Typer) -> None:
    """Add the verbs to `app`."""
    lines: dict[Callable[..., None], str] = {
        init: "init ./consortium --name glioma-net --host gliofed.example.org",
        admit: "admit ./consortium request.json",
        sign: "sign ./consortium --signing-key /media/usb/signing.key",
        renew: "renew ./consortium",
        revoke: "revoke ./consortium hospital-a",
    }
    for verb, line in lines.items():
        app.command(epilog=console.epilog(f"{PROGRAM} {line}"))(verb)


def init(
    consortium: FolderArgument,
    name: Annotated[str, typer.Option(show_default=False, help="Lower-case letters, digits and hyphens.")],
    host: Annotated[
        list[str],
        typer.Option(show_default=False, help="DNS name or address of the server; again for more, the first is told."),
    ],
    port: Annotated[int, typer.Option(min=1, max=65535, help="The one port that sites reach.")] = 443,
    signing_key: KeyOption = None,
    as_json: JsonOption = False,
) -> None:
    """Begin a consortium: authority, server certificate, signing key, settings.

    The signing key signs rosters, study plans and releases. Keep it off the server: give --signing-key a place on
    another disk, or move the file, and name it to the verbs that sign.
    """
    from common.identity.certificates import AUTHORITY_DAYS, SERVER_DAYS
    from server.consortium.beginning import begin_consortium
    from server.consortium.folder import Consortium
    from server.consortium.settings import ConsortiumSettings, checked

    place = Consortium(consortium)
    settings = checked(lambda: ConsortiumSettings(name=name, hosts=tuple(host), port=port))
    public = begin_consortium(place, settings, signing_key)
    if as_json:
        console.print_json({"consortium": str(place.folder), "name": name, "fingerprint": public.fingerprint})
        return
    console.print_line(f"{place.folder}: consortium {name} at {host[0]}:{port}")
    console.print_line(f"authority for {AUTHORITY_DAYS} days, server certificate for {SERVER_DAYS}: {', '.join(host)}")
    console.print_line(f"signing key: {signing_key or place.signing_key}; keep a copy where no server is")
    console.print_line(f"fingerprint to read to every site that joins: {public.fingerprint}")


def admit(
    consortium: FolderArgument,
    request: Annotated[Path, typer.Argument(show_default=False, help="The site's request.json.")],
    fingerprint: Annotated[
        str | None, typer.Option(show_default=False, help="What the site read out; asked for where it is not given.")
    ] = None,
    replace_key: Annotated[
        bool, typer.Option("--replace-key", help="Take the site's new key, and shut its old one out for good.")
    ] = False,
    signing_key: KeyOption = None,
    as_json: JsonOption = False,
) -> None:
    """Admit a site whose fingerprint was confirmed out of band.

    Asks for the fingerprint that the site read to you, over a telephone number that you knew before; registers the
    site's key with the running SuperLink, signs the roster, and writes a kit without secrets for every site.
    """
    from common.files import read_at_most
    from common.identity.request import MAX_REQUEST
    from common.study import code_version
    from server.consortium.admission import admit as admit_site
    from server.consortium.admission import check_fingerprint, hear
    from server.consortium.alone import alone
    from server.consortium.folder import Consortium
    from server.consortium.registrar import FlowerRegistrar
    from server.consortium.sealing import find_signing_key

    place = Consortium.open(consortium)
    with alone(place):
        applicant = hear(place, read_at_most(request, MAX_REQUEST), str(request), replace_key)
        key, asked = find_signing_key(place, signing_key), applicant.request
        said = fingerprint or typer.prompt(f"fingerprint that {asked.name} read to you", err=True)
        check_fingerprint(applicant, said)
        admission = admit_site(place, applicant, FlowerRegistrar(place), key)
    if as_json:
        kits = [str(kit) for kit in admission.sealed.kits]
        facts = {"site": admission.site, "node": admission.node, "signed": admission.sealed.signed, "kits": kits}
        console.print_json(facts)
        return
    console.print_line(f"{admission.site} is admitted as node {admission.node}")
    if asked.code_version != code_version():
        console.print_line(f"it has GlioFed {asked.code_version} installed, this server {code_version()}")
    _print_sealed(place, admission.sealed)


def sign(consortium: FolderArgument, signing_key: KeyOption = None) -> None:
    """Sign the roster and write the kits of all sites.

    On a machine apart, give a folder with consortium.toml, signing.pub, roster.toml and consortium.json, carry the two
    .sig files back, and give the same command there, without a key.
    """
    from server.consortium.alone import alone
    from server.consortium.folder import Consortium
    from server.consortium.sealing import find_signing_key, seal

    place = Consortium.open(consortium)
    with alone(place):
        _print_sealed(place, seal(place, find_signing_key(place, signing_key)))


def renew(consortium: FolderArgument) -> None:
    """Give the server a new certificate, by the same authority and with the names in consortium.toml.

    Then let nginx read it: `systemctl reload nginx`, or `kill -HUP` on its process. Nothing is restarted, no run is
    interrupted, and no site needs a new kit.
    """
    from server.consortium.folder import Consortium
    from server.consortium.renewal import certificate_days
    from server.consortium.renewal import renew as renew_certificate

    place = Consortium.open(consortium)
    renew_certificate(place)
    console.print_line(f"{place.server_certificate}: new; now `systemctl reload nginx`")
    console.print_line(", ".join(f"{name} {days:.0f} days left" for name, days in certificate_days(place).items()))


def revoke(
    consortium: FolderArgument,
    site: Annotated[str, typer.Argument(show_default=False, help="The site that goes.")],
    signing_key: KeyOption = None,
) -> None:
    """Shut a site out: off the roster, off the SuperLink, its key for good.

    A hospital whose key was lost or stolen comes back with a new key and a new request.
    """
    from server.consortium.admission import revoke as revoke_site
    from server.consortium.alone import alone
    from server.consortium.folder import Consortium
    from server.consortium.registrar import FlowerRegistrar
    from server.consortium.sealing import find_signing_key

    place = Consortium.open(consortium)
    with alone(place):
        sealed = revoke_site(place, site, FlowerRegistrar(place), find_signing_key(place, signing_key))
    console.print_line(f"{site} is revoked; its key never comes back")
    _print_sealed(place, sealed)


def _print_sealed(place: Consortium, sealed: Sealed) -> None:
    for kit in sealed.kits:
        console.print_line(f"kit, without a secret, to send: {kit}")
    if not sealed.signed:
        console.print_line(f"not signed yet, no kit written: {PROGRAM} sign {place.folder} --signing-key KEY")
