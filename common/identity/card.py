"""`consortium.json`: the signed page of a kit, which says where the server is and which other pages belong to it."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime
from typing import Annotated, Literal

from pydantic import AwareDatetime, Field, StringConstraints, ValidationError, field_validator

from common.errors import StudyError
from common.identity.certificates import host_of
from common.identity.request import CodeVersion
from common.settings.frozen import Frozen, Name

MAX_CARD = 8 * 1024
Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


class ConsortiumCard(Frozen):
    """What a site is told of the consortium that it joins.

    Attributes:
        name: the consortium's.
        host: DNS name or address of the server.
        port: its one port.
        signer: fingerprint of the key under which rosters, plans and releases are signed.
        authority: SHA-256 of the authority's certificate, as it lies in the kit.
        roster: SHA-256 of the roster, as it lies in the kit.
        code_version: the GlioFed that the coordinator had installed then; None in kits that do not say it.
        issued: when; an older kit never replaces a newer one, and with it no older roster.
    """

    schema_version: Literal[1] = 1
    name: Name
    host: str
    port: Annotated[int, Field(ge=1, le=65535)]
    signer: Annotated[str, StringConstraints(pattern=r"^SHA256:[A-Za-z0-9+/]{43}$")]
    authority: Digest
    roster: Digest
    code_version: CodeVersion | None = None
    issued: AwareDatetime

    @field_validator("host")
    @classmethod
    def _check_host(cls, host: str) -> str:
        try:
            host_of(host)
        except StudyError as error:
            raise ValueError(str(error)) from None
        return host

    @property
    def address(self) -> str:
        """`host:port`, as Flower takes it."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def to_json(self) -> bytes:
        """Return the bytes that are signed, and that `read_card` reads back."""
        return (json.dumps(self.model_dump(mode="json"), indent=2, sort_keys=True) + "\n").encode()


def write_card(
    name: str, host: str, port: int, signer: str, authority: bytes, roster: bytes, code_version: str
) -> ConsortiumCard:
    """Return the card of a kit with this certificate of the authority and this roster, issued now."""
    return ConsortiumCard(
        name=name,
        host=host,
        port=port,
        signer=signer,
        authority=sha256(authority),
        roster=sha256(roster),
        code_version=code_version,
        issued=datetime.now(UTC),
    )


def read_card(blob: bytes, origin: str = "consortium.json") -> ConsortiumCard:
    """Parse a card strictly. Raises StudyError with every problem found."""
    if len(blob) > MAX_CARD:
        raise StudyError(f"{origin}: larger than {MAX_CARD} bytes; this is no consortium.json")
    try:
        return ConsortiumCard.model_validate_json(blob, strict=True)
    except ValidationError as error:
        problems = [
            f"{origin}: {'.'.join(map(str, item['loc'])) or 'card'}: {item['msg'].removeprefix('Value error, ')}"
            for item in error.errors(include_input=False)
        ]
        raise StudyError("\n".join(problems)) from None


def sha256(blob: bytes) -> str:
    """Return the SHA-256 of `blob`, hexadecimal."""
    return hashlib.sha256(blob).hexdigest()
