"""How a consortium begins: an authority, two certificates, the signing key, the settings."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

from common.errors import StudyError
from common.files import write_whole
from common.identity.certificates import AUTHORITY_DAYS, Authority
from common.identity.signing import SigningKey, VerifyKey
from server.consortium.folder import Consortium
from server.consortium.settings import ConsortiumSettings

LOOPBACK = ("127.0.0.1", "localhost")


def begin_consortium(
    consortium: Consortium, settings: ConsortiumSettings, signing_key: Path | None = None
) -> VerifyKey:
    """Write a new consortium's keys, certificates and settings; return the key that sites will trust.

    `consortium.toml` comes last: without it there is no consortium, and the same call begins again.

    Args:
        signing_key: where the signing key is put, or taken from where there is one; by default the consortium's folder.

    Raises:
        StudyError: where there is a consortium already, or no key can be read where `signing_key` points.
    """
    if consortium.toml.exists():
        raise StudyError(f"{consortium.folder}: a consortium is there already; choose a new folder")
    signing = _signing_key(signing_key or consortium.signing_key)
    write_whole(consortium.signing_pub, signing.public.pem.encode())
    consortium.folder.chmod(0o700)  # whatever is kept below it later, by whichever program
    authority = Authority.create(f"GlioFed {settings.name}")
    authority.save(consortium.ca, consortium.ca_key)
    authority.issue(settings.hosts, consortium.server_certificate, consortium.server_key)
    decade = timedelta(days=AUTHORITY_DAYS)
    authority.issue(LOOPBACK, consortium.loopback_certificate, consortium.loopback_key, decade)
    write_connection(consortium, settings)
    write_whole(consortium.toml, settings.to_toml().encode())
    return signing.public


def _signing_key(path: Path) -> SigningKey:
    if path.exists():
        return SigningKey.load(path)
    made = SigningKey.generate()
    made.save(path)
    return made


def write_connection(consortium: Consortium, settings: ConsortiumSettings) -> None:
    """Write the connection by which the coordinator's own `flwr` reaches the SuperLink."""
    lines = [
        f"[superlink.{settings.name}]",
        f'address = "{LOOPBACK[0]}:{settings.fleet_port}"',
        f"root-certificates = {json.dumps(str(consortium.ca))}",
    ]
    write_whole(consortium.flower_config, ("\n".join(lines) + "\n").encode())
