"""The roster of a simulated consortium: who speaks from which virtual node, with a signing key of each site's own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from client.config import SiteConfig, load_site
from common.errors import StudyError
from common.identity.signing import SigningKey
from common.roster_file import Roster, RosterSite, write_roster

ROSTER, SIGNING_KEY = "roster.toml", "signing_key.pem"


def keep_signing_key(workdir: Path) -> Path:
    """Return the file of a site's private key, made where there is none, readable by its owner alone."""
    path = workdir / SIGNING_KEY
    if not path.is_file():
        SigningKey.generate().save(path)
    return path


@dataclass(frozen=True)
class Seat:
    """Where a simulated site sits: its site.toml and its virtual node."""

    file: Path
    node: int


def write_rosters(out: Path, seats: Mapping[str, Seat]) -> Path:
    """Write the run's roster, and the copies of it that the engine gives its sites; return the run's.

    A site whose site.toml cannot be read is on the roster without a key: it will say itself what is wrong.
    """
    configs = {site: _config_of(seat.file) for site, seat in seats.items()}
    roster = Roster(
        sites={site: RosterSite(node=seats[site].node, signing_key=_public(config)) for site, config in configs.items()}
    )
    own = [config.workdir / ROSTER for config in configs.values() if config is not None]
    given = {config.roster for config in configs.values() if config is not None}
    for path in (out / ROSTER, *(path for path in own if path in given)):
        write_roster(path, roster)
    return out / ROSTER


def _config_of(file: Path) -> SiteConfig | None:
    try:
        return load_site(file)
    except StudyError:
        return None


def _public(config: SiteConfig | None) -> str | None:
    """Return the public half of the key that a site names, None where it names none."""
    if config is None or config.signing_key is None:
        return None
    return SigningKey.load(config.signing_key).public.pem
