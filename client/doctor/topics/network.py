"""Whether the server is reached, by the one connection that a site has, and whether it is the right one."""

from __future__ import annotations

import socket
import threading
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from client.doctor.check import Check, Topic
from client.doctor.finding import Finding, NotCheckedError, failed, passed, warned
from client.doctor.look import Look
from client.doctor.surroundings import Surroundings
from client.doctor.topics.certificates import CERTIFICATES
from client.monitoring.heartbeat import NOBODY_BEHIND, REFUSED
from common.errors import FederationError

AHEAD_S, BEHIND_S = 5.0, 305.0
"""How far a site's clock may run ahead of the server's, and behind it, before Flower takes no message of the site."""
DRIFTS_S = 2.0
FIREWALL = "ask the firewall's team for one outbound TLS connection to {}, or name a proxy in site.toml"


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
    if status != REFUSED:
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


TOPIC = Topic(
    "network",
    (
        Check("proxy", "the proxy of site.toml answers and lets the site through", proxy, FederationError),
        Check("dns", "the server's name is known", dns, FederationError),
        Check("port", "the server's port takes a connection", port, FederationError),
        *CERTIFICATES,
        Check("clock", "this clock against the server's: -5 to +305 s", clock, FederationError),
        Check("fleet-api", "Flower answers sites behind the port", fleet, FederationError),
        Check("control-api", "Flower's unauthenticated Control API does not", control, FederationError),
    ),
)
