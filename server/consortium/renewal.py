"""The certificates' days, and a new one for the server in time."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress

from common.errors import StudyError
from common.identity.certificates import Authority, days_left
from server.consortium.folder import Consortium


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


def first_to_end(consortium: Consortium) -> float | None:
    """Return the days until the first of those ends on which sites rely; None where neither can be read.

    They are the authority's certificate, and the server's.
    """
    days = []
    for path in (consortium.ca, consortium.server_certificate):
        with suppress(StudyError):
            days.append(days_left(path))
    return min(days, default=None)
