"""Whether the server is reached, by the one connection that a site has, and whether it is the right one."""

from __future__ import annotations

import socket
import threading
from datetime import datetime
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from cryptography import x509

from client.doctor.check import Check, Topic
from client.doctor.finding import Finding, NotCheckedError, failed, passed, warned
from client.doctor.look import Look
from client.doctor.surroundings import Surroundings
from common.errors import FederationError
from common.identity.certificates import A_DAY, load_certificates

SOON_DAYS = 30
AHEAD_S, BEHIND_S = 5.0, 305.0
"""How far a site's clock may run ahead of the server's, and behind it, before Flower takes no message of the site."""
DRIFTS_S = 2.0
FIREWALL = "ask the firewall's team for one outbound TLS connection to {}, or name a proxy in site.toml"
NOBODY_BEHIND = (502, 503, 504)


def proxy(around: Surroundings) -> Finding:
    """Whether the proxy of site.toml is there and lets this site through."""
    named = around.config.connection.proxy
    if named is None:
        how = "the machine's environment names one" if _by_proxy(around) else "the site connects directly"
        return passed(f"site.toml names no proxy; {how}")
    parts = urlsplit(named.get_secret_value())
    try:
        socket.create_connection((parts.hostname or "", parts.port or 0), around.patience_s).close()
    except OSError as error:
        what = f"the proxy {parts.hostname}:{parts.port} does not answer ({error.strerror or type(error).__name__})"
        return failed("proxy-silent", what, "correct connection.proxy in site.toml, or ask the network's team")
    if around.look.problem == "proxy":
        what = f"the proxy refuses ({around.look.said})"
        remedy = "correct user and password in connection.proxy, and ask the network's team to let CONNECT through"
        return failed("proxy-refuses", what, remedy)
    return passed(f"the proxy {parts.hostname}:{parts.port} leads outwards")


def dns(around: Surroundings) -> Finding:
    """Whether the server's name is known here."""
    host = around.card.host
    if _by_proxy(around):
        return passed("the proxy looks the server's name up")
    found: list[str] = []
    asking = threading.Thread(target=lambda: found.extend(_addresses(around, host)), daemon=True)
    asking.start()
    asking.join(around.patience_s)
    if found:
        return passed(f"{host} is {', '.join(found)}", addresses=len(found))
    remedy = "ask the network's team to let this machine look the name up, or the coordinator whether it is right"
    return failed("unknown-host", f"nobody here knows the name {host}", remedy)


def _by_proxy(around: Surroundings) -> bool:
    """Say whether the way out is a proxy, be it of site.toml or of the environment."""
    if around.config.connection.proxy is not None:
        return True
    return "https" in getproxies() and not proxy_bypass(around.card.host)


def _addresses(around: Surroundings, host: str) -> tuple[str, ...]:
    try:
        return around.resolve(host)
    except OSError:
        return ()


def port(around: Surroundings) -> Finding:
    """Whether the server's port is open from here."""
    card = around.card
    if _by_proxy(around):
        if around.look.problem in ("proxy", "silent", "unreachable"):
            raise NotCheckedError("the proxy does not lead to the server")
        return passed(f"{card.address} is reached through the proxy")
    try:
        socket.create_connection((card.host, card.port), around.patience_s).close()
    except OSError as error:
        what = f"{card.address} does not take a connection ({error.strerror or 'no answer in time'})"
        return failed("port-closed", what, FIREWALL.format(card.address))
    return passed(f"{card.address} takes connections")


def tls(around: Surroundings) -> Finding:
    """Whether the certificate that is shown is the consortium's, or an inspecting proxy's that site.toml allows."""
    seen = around.look
    by = _issuer(seen.certificate)
    match seen.problem:
        case "roots":
            return failed("roots", f"no authority to trust: {seen.said}", "correct connection.extra_ca in site.toml")
        case "expired":
            remedy = "ask the coordinator to run `gliofed-server renew`; where this machine's date is wrong, correct it"
            return failed("expired", "the certificate that the server shows has expired", remedy)
        case "untrusted" if seen.certificate is not None and not seen.from_kit:
            what = f"a certificate by {by!r} is shown in the server's place: something on the way opens TLS"
            remedy = (
                "ask the network's team to leave this connection closed; or name the file of that authority as "
                "connection.extra_ca in site.toml, which lets it read what passes"
            )
            return failed("inspected", what, remedy)
        case "untrusted":
            remedy = "ask the coordinator which names the server's certificate holds, and for a new kit"
            return failed("untrusted", f"the server's certificate is not trusted ({seen.said})", remedy)
        case "":
            pass
        case _:
            raise NotCheckedError(f"there is no connection ({seen.said})")
    if seen.from_kit:
        return passed("the server shows a certificate of the consortium's authority")
    what = f"an inspecting proxy opens TLS with a certificate by {by!r}, as site.toml allows"
    remedy = "nothing, if that is meant: what is signed or masked stays safe; else take extra_ca out of site.toml"
    return warned("inspecting", what, remedy)


def server_certificate(around: Surroundings) -> Finding:
    """How long the server's certificate lasts."""
    seen = around.look
    if seen.certificate is None or (seen.problem and seen.problem != "expired"):
        raise NotCheckedError("no certificate of the server was seen")
    renew = "ask the coordinator to run `gliofed-server renew`; nothing has to be done here"
    return _days("the server's certificate", seen.certificate, around.now(), renew)


def authority_certificate(around: Surroundings) -> Finding:
    """How long the certificate of the consortium's authority lasts."""
    _ = around.card  # without a kit there is none
    first = min(load_certificates(around.site.ca), key=lambda held: held.not_valid_after_utc)
    return _days("the authority's certificate", first, around.now(), "ask the coordinator for a kit of a new authority")


def clock(around: Surroundings) -> Finding:
    """Whether this clock and the server's agree well enough for Flower."""
    ahead_s = _reached(around).ahead_s
    if ahead_s is None:
        raise NotCheckedError("the server does not say its time")
    said = f"this clock is {abs(ahead_s):.0f} s {'ahead of' if ahead_s > 0 else 'behind'} the server's"
    remedy = "let NTP set the clock (`timedatectl set-ntp true`); where it is right, tell the coordinator"
    if not -BEHIND_S <= ahead_s <= AHEAD_S:
        what = f"{said}; Flower takes no message beyond {AHEAD_S:g} s ahead or {BEHIND_S:g} s behind"
        return failed("clock", what, remedy, ahead_s=round(ahead_s, 1))
    if abs(ahead_s) > DRIFTS_S:
        return warned("clock-drifts", said, remedy, ahead_s=round(ahead_s, 1))
    return passed("this clock and the server's agree", ahead_s=round(ahead_s, 1))


def fleet(around: Surroundings) -> Finding:
    """Whether Flower answers sites behind the server's port."""
    status = _reached(around).fleet or 0
    tell = "tell the coordinator: `gliofed-server serve` and nginx must both run, nginx with the file that it made"
    if status in NOBODY_BEHIND:
        return failed(
            "nobody-behind", f"the server's gateway answers {status}: nobody is behind it", tell, status=status
        )
    if status == 404 or status >= 500:
        return failed("no-fleet", f"what answers there is not Flower for sites ({status})", tell, status=status)
    return passed(f"Flower answers sites there ({status} to a caller without a key)", status=status)


def control(around: Surroundings) -> Finding:
    """Whether what only the coordinator may do is closed to the outside."""
    status = _reached(around).control or 0
    if status in (403, 404, *NOBODY_BEHIND):
        return passed(f"the coordinator's own commands are closed to the outside ({status})", status=status)
    what = f"Flower's Control API, which asks nobody for a name, answers the outside ({status})"
    remedy = "tell the coordinator at once, and do not serve: anybody who finds the port can submit runs"
    return failed("control-open", what, remedy, status=status)


def _reached(around: Surroundings) -> Look:
    if around.look.problem:
        raise NotCheckedError("the server was not reached")
    return around.look


def _issuer(certificate: x509.Certificate | None) -> str:
    if certificate is None:
        return "nobody"
    names = certificate.issuer.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
    return str(names[0].value)[:80] if names else certificate.issuer.rfc4514_string()[:80]


def _days(what: str, certificate: x509.Certificate, now: datetime, remedy: str) -> Finding:
    left = (certificate.not_valid_after_utc - now) / A_DAY
    if left < 0:
        return failed("expired", f"{what} ended {-left:.0f} days ago", remedy, days=round(left, 1))
    if left < SOON_DAYS:
        return warned("ends-soon", f"{what} ends in {left:.0f} days", remedy, days=round(left, 1))
    return passed(f"{what} lasts {left:.0f} days", days=round(left, 1))


TOPIC = Topic(
    "network",
    (
        Check("proxy", "the proxy of site.toml answers and lets the site through", proxy, FederationError),
        Check("dns", "the server's name is known", dns, FederationError),
        Check("port", "the server's port takes a connection", port, FederationError),
        Check("tls", "the certificate shown is the consortium's; who else opens TLS is named", tls, FederationError),
        Check("server-certificate", "days that the server's certificate has left", server_certificate, FederationError),
        Check("authority", "days that the authority's certificate has left", authority_certificate, FederationError),
        Check("clock", "this clock against the server's: -5 to +305 s", clock, FederationError),
        Check("fleet-api", "Flower answers sites behind the port", fleet, FederationError),
        Check("control-api", "Flower's unauthenticated Control API does not", control, FederationError),
    ),
)
