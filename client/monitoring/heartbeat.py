"""Whether this site still reaches the coordinator: a TLS request of its own, the way that the SuperNode's go.

It uses Flower's own HTTP client with the same authority and the same proxy, so that what stops the SuperNode stops the
heartbeat. It is an empty call without a signature, which goes through nginx to the SuperLink and is refused there: that
answer counts. A firewall's page does not, nor a gateway with nobody behind it, nor a certificate that is not trusted.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import TYPE_CHECKING

from cryptography.x509 import load_der_x509_certificate

from client.enrolment.server_certificate import UnreachableError, reason_of
from common.identity.certificates import is_issued_by
from common.monitoring.refreshed import Refreshed

if TYPE_CHECKING:
    import httpx

CALL = "/v1/fleet/send-node-heartbeat"
KIND = {"Content-Type": "application/protobuf"}
"""Without it the SuperLink would write an error into its log; with it, it answers that nobody signed the call."""
PATIENCE_S = 10.0
REFUSED = 401
"""Flower's only answer to a call that nobody signed."""
NOBODY_BEHIND = frozenset({502, 503, 504})
MISSED = 2
"""Heartbeats in a row after which the server counts as lost."""


@dataclass(frozen=True)
class Reached:
    """The server answered.

    Attributes:
        certificate_left_s: seconds until the server's certificate ends; None where the connection does not tell, or
            an inspecting proxy shows its own.
        clock_ahead_s: by how much this clock runs ahead of the server's; None where it did not say its time.
    """

    certificate_left_s: float | None
    clock_ahead_s: float | None


def heartbeat_of(
    address: str, authority: Path, proxy: httpx.Proxy | str | None, every_s: float, kit: Path | None = None
) -> Refreshed[Reached]:
    """Return the heartbeat of a site, still to be entered.

    Args:
        address: HOST:PORT of the server.
        authority: file of the certificates that are trusted.
        proxy: the proxy, or its URL; None takes what the environment says, as the SuperNode does.
        every_s: pause between two tries.
        kit: file of the consortium's own authorities, where `authority` holds an inspecting proxy's as well.
    """
    return Refreshed("the coordinator's server", reacher(address, authority, proxy, kit), every_s)


def is_reached(heartbeat: Refreshed[Reached]) -> bool:
    """Say whether the server was reached within the last two heartbeats; a thread that hangs misses them as well."""
    return heartbeat.missed < MISSED and heartbeat.age_s <= (MISSED + 1) * heartbeat.every_s + PATIENCE_S


def reacher(
    address: str, authority: Path, proxy: httpx.Proxy | str | None = None, kit: Path | None = None
) -> Callable[[], Reached]:
    """Return what tries once, over a new connection. It raises UnreachableError with the reason."""

    def reach() -> Reached:
        import httpx

        try:
            trusted = ssl.create_default_context(cafile=str(authority))
            with (
                httpx.Client(verify=trusted, timeout=PATIENCE_S, proxy=proxy) as client,
                client.stream("POST", f"https://{address}{CALL}", headers=KIND) as answer,
            ):
                if answer.status_code in NOBODY_BEHIND:
                    raise UnreachableError(f"{address}: the gateway answers {answer.status_code}, nobody is behind it")
                if answer.status_code != REFUSED:
                    raise UnreachableError(f"{address}: answers {answer.status_code}, which is not Flower's answer")
                return Reached(_left_s(answer, kit or authority), _ahead_s(answer.headers.get("date")))
        except httpx.HTTPError as error:
            raise UnreachableError(f"{address}: {reason_of(error)}") from None
        except OSError as error:
            raise UnreachableError(f"{authority}: holds no certificate that can be read ({error.strerror})") from None

    return reach


def _left_s(answer: object, kit: Path) -> float | None:
    """Return the seconds that the server's certificate has left; None where another's is shown in its place."""
    stream = getattr(answer, "extensions", {}).get("network_stream")
    connection = stream.get_extra_info("ssl_object") if stream is not None else None
    shown = connection.getpeercert(True) if connection is not None else None
    if shown is None:
        return None
    certificate = load_der_x509_certificate(shown)
    if not is_issued_by(certificate, kit):
        return None
    return (certificate.not_valid_after_utc - datetime.now(UTC)).total_seconds()


def _ahead_s(date: str | None) -> float | None:
    """Return how far this clock is ahead of a `Date` header; None where it cannot be read."""
    try:
        said = parsedate_to_datetime(date or "")
    except ValueError:
        return None
    return (datetime.now(UTC) - said.replace(tzinfo=said.tzinfo or UTC)).total_seconds()
