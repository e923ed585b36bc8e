"""The server's certificate as this site sees it, through its proxy, with the library that Flower's SuperNode uses.

An inspecting proxy shows a certificate of its own in the server's place. That one is kept as well, so that the site's
status can name who opens TLS; it is never counted as the server's.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from client.enrolment.connection import root_certificates
from client.enrolment.folder import SiteFolder
from client.enrolment.joining import require_joined
from common.errors import FederationError
from common.files import write_whole
from common.identity.certificates import days_left, is_issued_by, issuer_of, load_certificates

if TYPE_CHECKING:
    import httpx

PATIENCE_S = 10.0
UNTRUSTED = "CERTIFICATE_VERIFY_FAILED"


class UnreachableError(FederationError):
    """This site does not reach the server over TLS."""

    code = "unreachable"


def see_server(site: SiteFolder, patience_s: float = PATIENCE_S) -> Path:
    """Make one TLS connection to the server and keep the certificate that was shown in its name; return its file.

    Raises:
        StudyError: where the site has not joined.
        UnreachableError: where no trusted server answers, with the reason, which never holds the proxy's password.
    """
    import httpx

    card = require_joined(site)
    trusted = ssl.create_default_context(cafile=str(root_certificates(site)))
    try:
        with (
            httpx.Client(verify=trusted, proxy=proxy_of(site), timeout=patience_s) as client,
            client.stream("GET", f"https://{card.address}/") as answer,
        ):
            shown = answer.extensions["network_stream"].get_extra_info("ssl_object").getpeercert(True)
    except httpx.HTTPError as error:
        raise UnreachableError(f"{card.address}: {reason_of(error)}") from None
    write_whole(site.seen_certificate, ssl.DER_cert_to_PEM_cert(shown).encode())
    return site.seen_certificate


def certificate_days(site: SiteFolder) -> Mapping[str, float | None]:
    """Return the days left of the `authority` and of the `server`'s certificate as last seen.

    They are None where they are unknown: the server's also where another's was shown in its place.
    """
    known = {"authority": site.ca.exists(), "server": site.seen_certificate.exists() and inspected_by(site) is None}
    places = {"authority": site.ca, "server": site.seen_certificate}
    return {name: days_left(place) if known[name] else None for name, place in places.items()}


def inspected_by(site: SiteFolder) -> str | None:
    """Return whose certificate was last shown in the server's place; None where it was the server's, or none was seen.

    The server's is one that an authority of the kit issued.
    """
    if not site.ca.exists() or not site.seen_certificate.exists():
        return None
    shown = load_certificates(site.seen_certificate)[0]
    return None if is_issued_by(shown, site.ca) else issuer_of(shown)


def proxy_of(site: SiteFolder) -> httpx.Proxy | None:
    """Return the proxy that `site.toml` names; None leaves it to the environment, as the SuperNode does."""
    import httpx

    connection = site.config.connection
    if connection.proxy is None:
        return None
    url = connection.proxy.get_secret_value()
    if not url.startswith("https://"):
        return httpx.Proxy(url)
    trusted = ssl.create_default_context()
    if connection.extra_ca is not None:
        trusted.load_verify_locations(connection.extra_ca)
    return httpx.Proxy(url, ssl_context=trusted)


def reason_of(error: httpx.HTTPError) -> str:
    """Return what went wrong and what to do about it."""
    import httpx

    said = str(error)
    if isinstance(error, httpx.ProxyError):
        return f"the proxy refuses ({said}); correct connection.proxy in site.toml"
    if UNTRUSTED in said:
        why = said.partition("certificate verify failed: ")[2].partition(" (_ssl")[0]
        if "expired" in why:
            return "the server's certificate has expired; ask the coordinator to renew it"
        return (
            f"the certificate shown is not trusted ({why}); where a proxy opens TLS, name its authority's file as "
            "connection.extra_ca in site.toml"
        )
    if isinstance(error, httpx.TimeoutException):
        return "no answer in time; ask the firewall's team for one outbound TLS connection to it, or name a proxy"
    return f"cannot be reached ({said}); ask the firewall's team for its name and one outbound TLS connection to it"
