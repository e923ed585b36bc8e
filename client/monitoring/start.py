"""Everything that a site is watched by, for as long as it serves."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from client.enrolment.connection import root_certificates
from client.enrolment.folder import SiteFolder
from client.enrolment.joining import require_joined
from client.enrolment.server_certificate import proxy_of
from client.monitoring import facts, metrics
from client.monitoring.gpu import GpuMemory, gpu_memory
from client.monitoring.heartbeat import Reached, heartbeat_of, is_reached
from client.monitoring.sent import Sent
from common import __version__
from common.logs import logger
from common.monitoring.exporter import Part, PortTakenError, serve_figures
from common.monitoring.health import Check, serve_health
from common.monitoring.machine import certificate, disk
from common.monitoring.metric import Sample
from common.monitoring.refreshed import Refreshed

log = logger(__name__)

CATALOG_EVERY_S, PRIVACY_EVERY_S, GPU_EVERY_S = 600.0, 300.0, 15.0
SERVER, SUPERNODE = "server", "supernode"
"""The checks of gRPC health, by service name; the empty name stands for both."""


@dataclass(frozen=True)
class Watched:
    """Where a site is watched, and its heartbeat."""

    metrics_port: int
    health_port: int
    heartbeat: Refreshed[Reached]


@contextmanager
def start_monitoring(site: SiteFolder, is_running: Callable[[], bool]) -> Iterator[Watched]:
    """Export the site's figures and answer health probes, on the loopback address, while the block lasts.

    Args:
        site: has joined; `monitoring` of its `site.toml` says where and how often.
        is_running: whether the site's programs live; asked twice a second.
    Raises:
        StudyError: where the site has not joined.
        PortTakenError: where a port is taken.
    """
    config, address = site.config, require_joined(site).address
    authority, proxy = root_certificates(site), proxy_of(site)
    settings, sent = config.monitoring, Sent(config.workdir)
    with ExitStack() as stack:
        heartbeat = stack.enter_context(heartbeat_of(address, authority, proxy, settings.heartbeat_s, site.ca))
        held = stack.enter_context(Refreshed("cases", lambda: facts.held(config), CATALOG_EVERY_S))
        spent = stack.enter_context(Refreshed("privacy", lambda: facts.privacy(config), PRIVACY_EVERY_S))
        gpus = stack.enter_context(Refreshed("gpus", gpu_memory, GPU_EVERY_S))
        checks: dict[str, Check] = {SERVER: lambda: is_reached(heartbeat), SUPERNODE: is_running}
        parts: dict[str, Part] = {
            "health": lambda: _health(checks, heartbeat),
            "server": lambda: _reached(heartbeat),
            "authority": lambda: (certificate(site.ca, "authority", metrics.CERTIFICATE),),
            "cases": lambda: held.latest().samples(),
            "rounds": lambda: facts.rounds(config.workdir),
            "sent": sent.samples,
            "privacy": spent.latest,
            "plans": lambda: facts.plans(config.workdir),
            "disk": lambda: disk(config.workdir, metrics.DISK_FREE, metrics.DISK_TOTAL),
            "gpu": lambda: _gpus(gpus.latest()),
        }
        metrics_port = stack.enter_context(serve_figures(parts, settings.metrics_port))
        health_port = stack.enter_context(serve_health(checks, settings.health_port))
        yield Watched(metrics_port, health_port, heartbeat)


@contextmanager
def watched_if_possible(site: SiteFolder, is_running: Callable[[], bool]) -> Iterator[None]:
    """Do as `start_monitoring`; where a port is taken the site serves all the same, unwatched, and its log says so."""
    with ExitStack() as stack:
        try:
            stack.enter_context(start_monitoring(site, is_running))
        except PortTakenError as error:
            log.error("%s, in [monitoring] of %s; until then nobody watches this site", error, site.toml)
        yield


def _health(checks: dict[str, Check], heartbeat: Refreshed[Reached]) -> Iterator[Sample]:
    """Yield what is known without asking anybody."""
    yield metrics.BUILD.is_(1, __version__)
    for name, check in checks.items():
        yield metrics.HEALTHY.is_(check(), name)
    yield metrics.HEARTBEAT.is_(heartbeat.every_s)
    if heartbeat.age_s != float("inf"):
        yield metrics.REACHED_AGE.is_(heartbeat.age_s)


def _reached(heartbeat: Refreshed[Reached]) -> Iterator[Sample]:
    """Yield what the server's last answer told. Raises NotReadError while it does not answer."""
    reached = heartbeat.latest()
    if reached.certificate_left_s is not None:
        yield metrics.CERTIFICATE.is_(reached.certificate_left_s, "server")
    if reached.clock_ahead_s is not None:
        yield metrics.CLOCK_AHEAD.is_(reached.clock_ahead_s)


def _gpus(found: tuple[GpuMemory, ...]) -> Iterator[Sample]:
    for each in found:
        yield metrics.GPU_USED.is_(each.used, each.gpu)
        yield metrics.GPU_TOTAL.is_(each.total, each.gpu)
