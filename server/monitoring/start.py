"""Everything that a coordinator is watched by, for as long as it serves."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

from common import __version__
from common.errors import GliofedError
from common.monitoring.exporter import Part, serve_figures
from common.monitoring.health import Check, serve_health
from common.monitoring.machine import certificate, disk
from common.monitoring.metric import Sample
from common.monitoring.refreshed import Refreshed
from common.roster_file import load_roster
from server.consortium.folder import Consortium
from server.facts.fleet import Fleet, NodeSeen
from server.monitoring import metrics
from server.monitoring.runs import Runs

FLEET_EVERY_S = 30.0
PROCESSES, SUPERLINK = "processes", "superlink"
"""The checks of gRPC health, by service name; the empty name stands for both."""
MISSED = 2
"""Questions in a row after which a SuperLink that does not answer counts as down."""
ONLINE = "online"


Nodes = Mapping[int, NodeSeen]


class SilentSuperLinkError(GliofedError):
    """The SuperLink does not say which nodes it hears."""

    code = "superlink-silent"


@dataclass(frozen=True)
class Watched:
    """Where the coordinator is watched."""

    metrics_port: int
    health_port: int


@contextmanager
def start_monitoring(
    consortium: Consortium, fleet: Fleet, is_running: Callable[[], bool], fleet_every_s: float = FLEET_EVERY_S
) -> Iterator[Watched]:
    """Export the consortium's figures and answer health probes, on the loopback address, while the block lasts.

    Args:
        consortium: whose `consortium.toml` names the ports.
        fleet: asks the SuperLink for its nodes.
        is_running: whether all processes live that `serve` started; asked twice a second.
        fleet_every_s: pause between two questions to the SuperLink.
    Raises:
        PortTakenError: where a port is taken.
    """
    ports, runs = consortium.settings.ports, Runs(consortium.runs)
    with ExitStack() as stack:
        nodes = stack.enter_context(Refreshed("the SuperLink's nodes", lambda: _ask(fleet), fleet_every_s))
        checks: dict[str, Check] = {PROCESSES: is_running, SUPERLINK: lambda: _answers(nodes)}
        parts: dict[str, Part] = {
            "health": lambda: _health(checks),
            "sites": lambda: _sites(consortium, nodes.latest()),
            "certificates": lambda: _certificates(consortium),
            "runs": runs.samples,
            "disk": lambda: disk(consortium.folder, metrics.DISK_FREE, metrics.DISK_TOTAL),
        }
        metrics_port = stack.enter_context(serve_figures(parts, ports.metrics))
        health_port = stack.enter_context(serve_health(checks, ports.health))
        yield Watched(metrics_port, health_port)


def _ask(fleet: Fleet) -> Nodes:
    nodes = fleet()
    if nodes is None:
        raise SilentSuperLinkError("it does not answer; look at `gliofed-server serve`")
    return nodes


def _answers(nodes: Refreshed[Nodes]) -> bool:
    return nodes.missed < MISSED and nodes.age_s <= (MISSED + 1) * nodes.every_s + 60.0  # a hung question counts too


def _health(checks: Mapping[str, Check]) -> Iterator[Sample]:
    yield metrics.BUILD.is_(1, __version__)
    for name, check in checks.items():
        yield metrics.HEALTHY.is_(check(), name)


def _sites(consortium: Consortium, nodes: Nodes) -> Iterator[Sample]:
    """Yield who of the roster is there; nobody before the first site is admitted."""
    if not consortium.roster.is_file():
        return
    now = datetime.now(UTC)
    for site, node in load_roster(consortium.roster).nodes.items():
        seen = nodes.get(node)
        yield metrics.SITE_ONLINE.is_(seen is not None and seen.status == ONLINE, site)
        if seen is not None and seen.last_seen is not None:
            yield metrics.SITE_SEEN_AGE.is_(max(0.0, (now - seen.last_seen).total_seconds()), site)


def _certificates(consortium: Consortium) -> Iterator[Sample]:
    yield certificate(consortium.ca, "authority", metrics.CERTIFICATE)
    yield certificate(consortium.server_certificate, "server", metrics.CERTIFICATE)
