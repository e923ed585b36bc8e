"""One look at the server, the way that the SuperNode goes: what it answers, and whose certificate is shown."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

from cryptography import x509

from client.enrolment.connection import root_certificates
from client.enrolment.folder import SiteFolder
from client.enrolment.server_certificate import UNTRUSTED, proxy_of
from common.errors import GliofedError
from common.identity.card import ConsortiumCard
from common.identity.certificates import is_issued_by

if TYPE_CHECKING:
    import httpx

FLEET, CONTROL = "/v1/fleet/send-node-heartbeat", "/v1/control/list-runs"
"""A call that sites make, and one that only the coordinator's own machine may. Both are made without a key."""
KIND = {"Content-Type": "application/protobuf"}
HALF_A_SECOND = timedelta(seconds=0.5)
"""A `Date` header is cut to whole seconds, so on average this much late."""


@dataclass(frozen=True)
class Look:
    """What was seen.

    Attributes:
        problem: why there was no answer to be trusted: `proxy`, `untrusted`, `expired`, `silent`, `unreachable`,
            `roots`; "" where there was.
        said: the reason in the words of whoever gave it, never with a password.
        certificate: the one that was shown, trusted or not.
        from_kit: whether it comes from the authority in the kit, not from one that opens TLS.
        ahead_s: by how much this clock runs ahead of the server's; None where it does not tell its time.
        fleet, control: the status with which those two calls were answered.
    """

    problem: str = ""
    said: str = ""
    certificate: x509.Certificate | None = None
    from_kit: bool = False
    ahead_s: float | None = None
    fleet: int | None = None
    control: int | None = None


def look_at(site: SiteFolder, card: ConsortiumCard, now: Callable[[], datetime], patience_s: float) -> Look:
    """Ask the server of `card` three harmless questions; none of them changes anything."""
    import httpx

    try:
        trusted = ssl.create_default_context(cafile=str(root_certificates(site)))
    except (GliofedError, OSError) as error:  # ssl's errors are among them
        return Look("roots", str(error))
    address = f"https://{card.address}"
    try:
        with httpx.Client(verify=trusted, proxy=proxy_of(site), timeout=patience_s) as client:
            asked = now()
            with client.stream("GET", f"{address}/") as answer:
                ahead_s = ahead_of(asked + (now() - asked) / 2, answer.headers.get("date"))
                shown = _shown(answer)
            fleet = client.post(address + FLEET, headers=KIND)
            control = client.post(address + CONTROL, headers=KIND)
    except (httpx.HTTPError, OSError) as error:
        return _without_answer(site, address, error, patience_s)
    return Look(
        certificate=shown,
        from_kit=shown is not None and is_issued_by(shown, site.ca),
        ahead_s=ahead_s,
        fleet=fleet.status_code,
        control=control.status_code,
    )


def _without_answer(site: SiteFolder, address: str, error: Exception, patience_s: float) -> Look:
    """Say why there is no answer; a certificate that is not trusted is looked at all the same."""
    import httpx

    said = str(error)
    if isinstance(error, httpx.ProxyError):
        return Look("proxy", said)
    if UNTRUSTED in said:
        why = said.partition("certificate verify failed: ")[2].partition(" (_ssl")[0]
        shown = _untrusted(site, address, patience_s)
        from_kit = shown is not None and is_issued_by(shown, site.ca)
        return Look("expired" if "expired" in why else "untrusted", why, shown, from_kit)
    if isinstance(error, httpx.TimeoutException):
        return Look("silent", f"no answer within {patience_s:g} s")
    return Look("unreachable", said.partition("] ")[2] or said)  # without a system's number


def _untrusted(site: SiteFolder, address: str, patience_s: float) -> x509.Certificate | None:
    """Return the certificate that is shown, whoever shows it; nothing of the site is sent."""
    import httpx

    anybody = ssl.create_default_context()
    anybody.check_hostname, anybody.verify_mode = False, ssl.CERT_NONE
    try:
        with (
            httpx.Client(verify=anybody, proxy=proxy_of(site), timeout=patience_s) as client,
            client.stream("GET", f"{address}/") as answer,
        ):
            return _shown(answer)
    except (httpx.HTTPError, OSError):
        return None


def _shown(answer: httpx.Response) -> x509.Certificate | None:
    connection = answer.extensions["network_stream"].get_extra_info("ssl_object")
    blob = connection.getpeercert(True) if connection is not None else None
    try:
        return None if blob is None else x509.load_der_x509_certificate(blob)
    except ValueError:  # ssl is less strict
        return None


def ahead_of(here: datetime, date: str | None) -> float | None:
    """Return the seconds by which `here` is ahead of a `Date` header; None where that tells no time."""
    try:
        there = parsedate_to_datetime(date or "")
        there = there if there.tzinfo else there.replace(tzinfo=UTC)
        return (here - there - HALF_A_SECOND).total_seconds()
    except (ValueError, TypeError, IndexError, OverflowError):  # whatever the server wrote
        return None
