"""A kit: what an admitted site gets, a zip of six small files without a secret, all of it under one signature.

consortium.json (.sig)   host, port, name, the signer's fingerprint, digests of the other pages
ca.crt                   the authority that the server's certificate comes from
signing.pub              the key under which rosters, plans and releases are signed
roster.toml (.sig)       the sites admitted
"""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass

from cryptography import x509

from common.errors import StudyError
from common.identity.card import ConsortiumCard, read_card, sha256
from common.identity.signing import Purpose, SignatureError, VerifyKey
from common.roster_file import MAX_ROSTER_BYTES, Roster, parse_roster

CARD, CARD_SIGNATURE = "consortium.json", "consortium.json.sig"
AUTHORITY, SIGNER = "ca.crt", "signing.pub"
ROSTER, ROSTER_SIGNATURE = "roster.toml", "roster.toml.sig"
MEMBERS = (CARD, CARD_SIGNATURE, AUTHORITY, SIGNER, ROSTER, ROSTER_SIGNATURE)
MAX_MEMBER = MAX_ROSTER_BYTES
MAX_KIT = 2 * MAX_ROSTER_BYTES
"""Bytes of a kit, at most; nothing in it is compressed, so that nothing in it can be larger."""
LONG_AGO = (1980, 1, 1, 0, 0, 0)
"""The time of every page, so that the same pages are the same bytes."""


@dataclass(frozen=True)
class Kit:
    """A kit whose pages belong together and are signed by `signer`; whether that key may be trusted, a person says.

    Attributes:
        card: where the server is.
        signer: the key in the kit, which signed the card and the roster.
        roster: the sites admitted.
        pages: name → content of every file.
    """

    card: ConsortiumCard
    signer: VerifyKey
    roster: Roster
    pages: Mapping[str, bytes]


def pack_kit(pages: Mapping[str, bytes]) -> bytes:
    """Return the zip of the six pages."""
    kept = io.BytesIO()
    with zipfile.ZipFile(kept, "w", zipfile.ZIP_STORED) as archive:
        for name in MEMBERS:
            archive.writestr(zipfile.ZipInfo(name, LONG_AGO), pages[name])
    return kept.getvalue()


def open_kit(blob: bytes, origin: str = "kit") -> Kit:
    """Take a kit apart and check that all of it is signed by the key in it.

    Raises:
        StudyError: where it is no kit, or its pages do not belong together.
        SignatureError: where a page is not as it was signed.
    """
    return read_kit(_unpack(blob, origin), origin)


def read_kit(pages: Mapping[str, bytes], origin: str = "kit") -> Kit:
    """Check the pages of a kit as `open_kit` does."""
    signer = VerifyKey.from_pem(_text(pages[SIGNER]), f"{origin}: {SIGNER}")
    try:
        signer.verify(Purpose.KIT, pages[CARD], _text(pages[CARD_SIGNATURE]).strip())
        signer.verify(Purpose.ROSTER, pages[ROSTER], _text(pages[ROSTER_SIGNATURE]).strip())
    except SignatureError as error:
        raise SignatureError(f"{origin}: {error}") from None
    card = read_card(pages[CARD], f"{origin}: {CARD}")
    said = {
        SIGNER: card.signer == signer.fingerprint,
        AUTHORITY: card.authority == sha256(pages[AUTHORITY]),
        ROSTER: card.roster == sha256(pages[ROSTER]),
    }
    if strangers := [name for name, belongs in said.items() if not belongs]:
        raise StudyError(f"{origin}: {', '.join(strangers)}: not the one that {CARD} names; ask for the kit again")
    try:
        x509.load_pem_x509_certificates(pages[AUTHORITY])
    except ValueError:
        raise StudyError(f"{origin}: {AUTHORITY}: holds no PEM certificate; ask for the kit again") from None
    return Kit(card, signer, parse_roster(_text(pages[ROSTER]), f"{origin}: {ROSTER}"), dict(pages))


def _unpack(blob: bytes, origin: str) -> dict[str, bytes]:
    """Return the pages of a zip that holds exactly these, uncompressed; no name in it is ever used as a path."""
    if len(blob) > MAX_KIT:
        raise StudyError(f"{origin}: larger than {MAX_KIT // 1024} KiB; this is no kit")
    try:
        with zipfile.ZipFile(io.BytesIO(blob)) as archive:
            entries = archive.infolist()
            if sorted(entry.filename for entry in entries) != sorted(MEMBERS):
                raise StudyError(f"{origin}: must hold {', '.join(MEMBERS)}, each once, and nothing else")
            if any(entry.compress_type != zipfile.ZIP_STORED or entry.file_size > MAX_MEMBER for entry in entries):
                raise StudyError(f"{origin}: a page is compressed or too large; ask for the kit again")
            return {entry.filename: archive.read(entry) for entry in entries}
    except (zipfile.BadZipFile, zlib.error, struct.error, ValueError, OSError, EOFError, RuntimeError):
        raise StudyError(f"{origin}: is no zip, or a damaged one; ask for the kit again") from None


def _text(page: bytes) -> str:
    return page.decode("utf-8", "replace")
