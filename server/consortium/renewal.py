"""The certificates' days, and a new one for the server in time."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

from common.errors import StudyError
from common.identity.certificates import Authority, days_left
from server.consortium.folder import Consortium

AN_HOUR = 1 / 24
REMEDIES = {
    "server": "run `gliofed-server renew`",
    "authority": "begin the consortium anew with `gliofed-server init`, and let every site join it",
}
"""Certificate → what to do before it ends. No renewal can outlast the authority, which every kit pins."""


@dataclass(frozen=True)
class Ending:
    """A certificate on which sites rely, the `authority`'s or the `server`'s, and the days until it ends."""

    certificate: str
    days: float

    @property
    def remedy(self) -> str:
        """What to do."""
        return REMEDIES[self.certificate]


def renew(consortium: Consortium) -> None:
    """Write a new key and certificate of the server, with the names in `consortium.toml`, by the same authority.

    Sites trust the authority, so that no kit changes. nginx reads the files when it is told to reload; connections that
    are open go on, and neither SuperLink nor runs notice.

    Raises:
        StudyError: where the authority's key is not at hand.
    """
    authority = Authority.load(consortium.ca, consortium.ca_key)
    authority.issue(consortium.settings.hosts, consortium.server_certificate, consortium.server_key)


def certificate_days(consortium: Consortium) -> Mapping[str, float]:
    """Return the days left of the `authority`, of the `server`'s certificate and of the `loopback` one."""
    return {
        "authority": days_left(consortium.ca),
        "server": days_left(consortium.server_certificate),
        "loopback": days_left(consortium.loopback_certificate),
    }


def first_to_end(consortium: Consortium) -> Ending | None:
    """Return the first to end of the certificates on which sites rely; None where neither can be read.

    A server's certificate that was cut short by the authority's end ends with it: then the authority is the one.
    """
    found = []
    for name, path in (("authority", consortium.ca), ("server", consortium.server_certificate)):
        with suppress(StudyError):
            found.append(Ending(name, days_left(path)))
    return min(found, key=lambda ending: ending.days + (ending.certificate == "server") * AN_HOUR, default=None)
