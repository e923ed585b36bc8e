"""`revoked.toml`: the keys that were turned away for good, and which site each belonged to.

schema_version = 1
[[keys]]
site = "hospital-a"
node = 7312045586104459613
fingerprint = "SHA256:…"
at = "2026-11-22T01:02:03Z"
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AwareDatetime, Field, StringConstraints, ValidationError

from common.errors import StudyError
from common.files import read_at_most, write_whole
from common.settings.frozen import Frozen, SiteName
from common.settings.toml_text import read_toml

MAX_BYTES = 1024 * 1024


class RevokedKey(Frozen):
    """One key, by its fingerprint, with the site that held it, its node, and the time of its end."""

    site: SiteName
    node: Annotated[int, Field(ge=1, lt=2**64)]
    fingerprint: Annotated[str, StringConstraints(max_length=64)]
    at: AwareDatetime


class Revoked(Frozen):
    """All keys that were revoked, the first first."""

    schema_version: Literal[1] = 1
    keys: Annotated[tuple[RevokedKey, ...], Field(max_length=10_000)] = ()

    def holds(self, fingerprint: str) -> bool:
        """Say whether the key of this fingerprint was revoked."""
        return any(key.fingerprint == fingerprint for key in self.keys)

    def nodes(self, site: str) -> tuple[int, ...]:
        """Return the nodes that a site's revoked keys spoke from."""
        return tuple(key.node for key in self.keys if key.site == site)

    def to_toml(self) -> str:
        """Return text that `load_revoked` reads back."""
        lines = [f"schema_version = {self.schema_version}"]
        for key in self.keys:
            lines += ["", "[[keys]]"]
            lines += [f"{name} = {json.dumps(value)}" for name, value in key.model_dump(mode="json").items()]
        return "\n".join(lines) + "\n"


def load_revoked(path: Path) -> Revoked:
    """Read the revoked keys; none where there is no file. Raises StudyError where it is damaged."""
    if not path.exists():
        return Revoked()
    blob = read_at_most(path, MAX_BYTES)
    try:
        return Revoked.model_validate_json(
            json.dumps(read_toml(blob.decode("utf-8", "replace"), str(path))), strict=True
        )
    except (StudyError, ValidationError):
        raise StudyError(f"{path}: is damaged; put it back from a backup, or a revoked key may return") from None


def add_revoked(path: Path, key: RevokedKey) -> None:
    """Add a key, once."""
    known = load_revoked(path)
    if not known.holds(key.fingerprint):
        write_whole(path, known.model_copy(update={"keys": (*known.keys, key)}).to_toml().encode())
