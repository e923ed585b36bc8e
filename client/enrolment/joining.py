"""Joining with a kit: it is opened, its signer confirmed by a person, and put in place whole or not at all."""

from __future__ import annotations

import os
import shutil

from client.enrolment.folder import SiteFolder
from common.errors import PolicyError, StudyError
from common.files import flush_folder, read_at_most, write_whole
from common.identity.card import MAX_CARD, ConsortiumCard, read_card
from common.identity.kit import Kit
from common.identity.signing import VerifyKey
from common.identity.site_key import load_site_key


def installed_card(site: SiteFolder) -> ConsortiumCard | None:
    """Return the card of the kit that this site joined with, None before."""
    return read_card(read_at_most(site.card, MAX_CARD), str(site.card)) if site.card.exists() else None


def trusted_signer(site: SiteFolder) -> VerifyKey | None:
    """Return the key that this site trusts since it joined, None before."""
    return VerifyKey.load(site.signing_pub) if site.signing_pub.exists() else None


def check_signer(kit: Kit, said: str) -> None:
    """Raise PolicyError where `said`, which the coordinator read out, is not the fingerprint of the kit's signer."""
    if not kit.signer.has_fingerprint(said):
        raise PolicyError(
            "the kit is signed by a key with another fingerprint than the one you were told; nothing was installed. "
            "Ask the coordinator to read it again; where it differs still, somebody made this kit on its way"
        )


def check_seat(site: SiteFolder, kit: Kit) -> bool:
    """Say whether the kit admits this site with its next key rather than with the one in use.

    Raises:
        PolicyError: where the roster holds no key of this site, or the kit is older than the one installed.
    """
    entry = kit.roster.sites.get(site.config.name)
    held = {place: load_site_key(place).public.pem for place in (site.key, site.next_key) if place.exists()}
    if entry is None or entry.signing_key not in held.values():
        raise PolicyError(
            f"the roster in the kit {'does not name' if entry is None else 'holds another key for'} "
            f"{site.config.name}; send the coordinator {site.request.name} again"
        )
    before = installed_card(site)
    if before is not None and kit.signer == trusted_signer(site) and kit.card.issued < before.issued:
        raise PolicyError(
            f"the kit is of {kit.card.issued:%Y-%m-%d %H:%M} UTC, older than the one in use; ask for the newest"
        )
    return entry.signing_key == held.get(site.next_key)


def join(site: SiteFolder, kit: Kit) -> None:
    """Put the kit in place, and the site's next key where the kit admits it with that one.

    Raises:
        PolicyError: as `check_seat`.
    """
    promoted = check_seat(site, kit)
    aside, old = site.folder / f".kit.{os.getpid()}.part", site.folder / ".kit.old"
    shutil.rmtree(aside, ignore_errors=True)
    for name, page in kit.pages.items():  # names are those of `MEMBERS`, whatever the zip said
        write_whole(aside / name, page)
    if promoted:  # in an order that can be broken off anywhere, and begun again
        write_whole(site.public_key, f"{load_site_key(site.next_key).public.openssh}\n".encode())
        site.next_key.replace(site.key)
        site.next_key.with_suffix(".pub").unlink(missing_ok=True)
        flush_folder(site.key.parent)
    shutil.rmtree(old, ignore_errors=True)
    if site.kit.exists():
        site.kit.rename(old)
    aside.rename(site.kit)
    flush_folder(site.folder)
    shutil.rmtree(old, ignore_errors=True)
    site.seen_certificate.unlink(missing_ok=True)  # it may be by an authority that is no longer the consortium's


def require_joined(site: SiteFolder) -> ConsortiumCard:
    """Return the card of the kit in use. Raises StudyError where the site has not joined."""
    card = installed_card(site)
    if card is None:
        raise StudyError(
            f"{site.config.name}: has not joined yet; run `gliofed-client join KIT` with the kit you were sent"
        )
    return card
