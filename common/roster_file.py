"""`roster.toml`: the sites that were admitted, each with the node it speaks from and the key that it signs with.

Two copies exist: the coordinator talks to these nodes alone, and a site pins the keys of its own copy, so that a
coordinator cannot put a stranger in a member's place.

    schema_version = 1
    [sites.hospital-a]
    node = 7312045586104459613
    signing_key = "-----BEGIN PUBLIC KEY-----\\n…"
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, ValidationError, field_validator, model_validator

from common.errors import StudyError
from common.files import write_whole
from common.settings.frozen import Frozen, SiteName
from common.settings.problems import plain
from common.settings.toml_text import read_toml

MAX_ROSTER_BYTES = 1024 * 1024


class RosterSite(Frozen):
    """One admitted site.

    Attributes:
        node: the number under which Flower knows the site's SuperNode.
        signing_key: PEM of the site's public key, EC P-384 or Ed25519; None where it has given none.
    """

    node: Annotated[int, Field(ge=1, lt=2**64)]
    signing_key: Annotated[str, StringConstraints(max_length=2048)] | None = None

    @field_validator("signing_key")
    @classmethod
    def _check_key(cls, pem: str | None) -> str | None:
        if pem is not None:
            from cryptography.exceptions import UnsupportedAlgorithm
            from cryptography.hazmat.primitives.asymmetric import ec, ed25519
            from cryptography.hazmat.primitives.serialization import load_pem_public_key

            try:
                key = load_pem_public_key(pem.encode())
            except (ValueError, UnsupportedAlgorithm):
                raise ValueError("is no PEM public key; give the site's, never its private one") from None
            p384 = isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP384R1)
            if not (p384 or isinstance(key, ed25519.Ed25519PublicKey)):
                raise ValueError("must be a key of EC P-384 or Ed25519")
        return pem

    @property
    def public_bytes(self) -> bytes | None:
        """The key itself, whatever text it is written as: its SubjectPublicKeyInfo in DER."""
        from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key

        if self.signing_key is None:
            return None
        key = load_pem_public_key(self.signing_key.encode())
        return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


class Roster(Frozen):
    """The admitted sites, by name."""

    schema_version: Literal[1] = 1
    sites: Annotated[dict[SiteName, RosterSite], Field(min_length=1, max_length=4096)]

    @model_validator(mode="after")
    def _check(self) -> Self:
        entries = self.sites.values()
        for what, values in (("node", [e.node for e in entries]), ("signing_key", [e.public_bytes for e in entries])):
            given = [value for value in values if value is not None]
            if len(set(given)) != len(given):
                raise ValueError(f"sites: two sites have the same {what}; each needs its own")
        return self

    @property
    def nodes(self) -> Mapping[str, int]:
        """Node of each site, sites sorted."""
        return {site: self.sites[site].node for site in sorted(self.sites)}

    @property
    def digest(self) -> str:
        """SHA-256 of the roster's canonical JSON."""
        text = json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()

    def to_toml(self) -> str:
        """Return text that `parse_roster` reads back as the same roster."""
        lines = [f"schema_version = {self.schema_version}"]
        for site in sorted(self.sites):
            entry = self.sites[site]
            lines += ["", f"[sites.{site}]", f"node = {entry.node}"]
            if entry.signing_key is not None:
                lines.append(f"signing_key = {json.dumps(entry.signing_key)}")
        return "\n".join(lines) + "\n"


def parse_roster(text: str, origin: str = "roster") -> Roster:
    """Parse the text of a `roster.toml` strictly. Raises StudyError with every problem found."""
    tree = read_toml(text, origin, MAX_ROSTER_BYTES)
    try:
        return Roster.model_validate_json(json.dumps(tree), strict=True)
    except ValidationError as error:
        problems = [f"{origin}: {'.'.join(map(str, item['loc']))}: {plain(item)}" for item in error.errors()]
        raise StudyError("\n".join(problems)) from None


def load_roster(path: Path) -> Roster:
    """Read and parse the roster at `path`. Raises StudyError where it is missing or wrong."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise StudyError(f"{path}: cannot be read ({type(error).__name__}); give the path of a roster.toml") from None
    return parse_roster(text, origin=str(path))


def write_roster(path: Path, roster: Roster) -> None:
    """Write the roster to `path`, whole. Raises GliofedError where it cannot be written."""
    write_whole(path, roster.to_toml().encode())
