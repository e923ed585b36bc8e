"""Signing what sites are sent: the roster and the card, then a kit a site.

The signing key may lie on another machine. There `gliofed-server sign` needs a folder with `consortium.toml`,
`signing.pub`, `roster.toml` and `consortium.json`, and leaves two `.sig` files to carry back.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from common.errors import PolicyError, StudyError
from common.files import read_at_most, write_whole
from common.identity.card import MAX_CARD, write_card
from common.identity.certificates import MAX_CERTIFICATES
from common.identity.kit import (
    AUTHORITY,
    CARD,
    CARD_SIGNATURE,
    MEMBERS,
    ROSTER,
    ROSTER_SIGNATURE,
    SIGNER,
    pack_kit,
    read_kit,
)
from common.identity.signing import (
    MAX_PEM,
    MAX_SIGNATURE,
    Purpose,
    SignatureError,
    SigningKey,
    VerifyKey,
    signature_path,
    write_signed,
)
from common.roster_file import MAX_ROSTER_BYTES, Roster, load_roster
from common.study import code_version
from server.consortium.folder import Consortium

LIMITS = {
    CARD: MAX_CARD,
    CARD_SIGNATURE: MAX_SIGNATURE + 1,
    AUTHORITY: MAX_CERTIFICATES,
    SIGNER: MAX_PEM,
    ROSTER: MAX_ROSTER_BYTES,
    ROSTER_SIGNATURE: MAX_SIGNATURE + 1,
}


@dataclass(frozen=True)
class Sealed:
    """What `seal` left: whether roster and card are signed, and the kits that were written."""

    signed: bool
    kits: tuple[Path, ...]


def admitted(consortium: Consortium) -> Roster | None:
    """Return the roster, None before the first site is admitted."""
    return load_roster(consortium.roster) if consortium.roster.exists() else None


def change_roster(consortium: Consortium, roster: Roster | None) -> None:
    """Write another roster and the card that names it; the old signatures, kits and card are gone first."""
    for stale in (signature_path(consortium.roster), signature_path(consortium.card)):
        stale.unlink(missing_ok=True)
    for kit in consortium.kit("any").parent.glob("*.zip"):
        kit.unlink()
    if roster is None:
        consortium.card.unlink(missing_ok=True)
        consortium.roster.unlink(missing_ok=True)
        return
    text = roster.to_toml().encode()
    settings, signer = consortium.settings, VerifyKey.load(consortium.signing_pub)
    authority = read_at_most(consortium.ca, MAX_CERTIFICATES)
    place = (settings.name, settings.hosts[0], settings.port)
    card = write_card(*place, signer.fingerprint, authority, text, code_version())
    write_whole(consortium.roster, text)
    write_whole(consortium.card, card.to_json())


def find_signing_key(consortium: Consortium, given: Path | None) -> SigningKey | None:
    """Return the consortium's signing key; None where it lies elsewhere and nobody says where.

    Raises:
        StudyError: where no key can be read at the place that was given.
        PolicyError: where it is another key than the one that sites trust.
    """
    place = given or consortium.signing_key
    if given is None and not place.exists():
        return None
    key = SigningKey.load(place)
    if key.public != VerifyKey.load(consortium.signing_pub):
        raise PolicyError(f"{place}: is not the key of {consortium.signing_pub.name}, which the sites trust")
    return key


def seal(consortium: Consortium, key: SigningKey | None) -> Sealed:
    """Sign roster and card where there is a key, and write the kits of all sites where both are signed.

    Raises:
        StudyError: where nobody was admitted yet.
    """
    roster = admitted(consortium)
    if roster is None or not consortium.card.exists():
        raise StudyError(f"{consortium.folder}: no site was admitted yet; there is nothing to sign")
    if key is not None:
        write_signed(consortium.roster, consortium.roster.read_bytes(), key, Purpose.ROSTER)
        write_signed(consortium.card, consortium.card.read_bytes(), key, Purpose.KIT)
    pages = _pages(consortium)
    missing = set(MEMBERS) - set(pages)
    if missing & {CARD_SIGNATURE, ROSTER_SIGNATURE}:
        return Sealed(False, ())
    if missing:  # the machine on which one signs has neither certificates nor kits
        return Sealed(True, ())
    try:
        read_kit(pages)
    except SignatureError as error:
        raise SignatureError(f"{error}; sign it again: gliofed-server sign {consortium.folder}") from None
    kits = tuple(consortium.kit(site) for site in sorted(roster.sites))
    for kit in kits:
        write_whole(kit, pack_kit(pages))
    return Sealed(True, kits)


def _pages(consortium: Consortium) -> dict[str, bytes]:
    places = {
        CARD: consortium.card,
        CARD_SIGNATURE: signature_path(consortium.card),
        AUTHORITY: consortium.ca,
        SIGNER: consortium.signing_pub,
        ROSTER: consortium.roster,
        ROSTER_SIGNATURE: signature_path(consortium.roster),
    }
    return {name: read_at_most(place, LIMITS[name]) for name, place in places.items() if place.exists()}
