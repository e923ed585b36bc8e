"""Figures for Prometheus on the loopback address: read when it asks, each part on its own."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from common.errors import StudyError
from common.logs import logger
from common.monitoring.metric import Metric, Sample

log = logger(__name__)

LOOPBACK = "127.0.0.1"
PART_READ = Metric(
    "gliofed_part_read", "1 where this part of the figures could be read at this scrape, 0 where not.", ("part",)
)


class PortTakenError(StudyError):
    """Somebody else listens where figures or health were to be."""


Part = Callable[[], Iterable[Sample]]
Family = CounterMetricFamily | GaugeMetricFamily


class Figures(Collector):
    """All parts as Prometheus wants them; a part that cannot be read is absent, and `gliofed_part_read` says so.

    Args:
        parts: name → what reads it.
    """

    def __init__(self, parts: Mapping[str, Part]) -> None:
        self._parts = dict(parts)

    def describe(self) -> Iterable[Family]:
        """Return nothing, so that nothing is read before somebody asks."""
        return ()

    def collect(self) -> Iterable[Family]:
        """Read every part."""
        families: dict[str, Family] = {}
        for sample in self._samples():
            family = families.setdefault(sample.metric.name, _family(sample.metric))
            family.add_metric(sample.labels, sample.value)
        return families.values()

    def _samples(self) -> Iterator[Sample]:
        for name, part in self._parts.items():
            try:
                found = list(part())
            except Exception as error:  # whatever it is, it takes no other part with it
                log.debug("%s cannot be read: %s: %s", name, type(error).__name__, error)
                found = [PART_READ.is_(0, name)]
            else:
                found.append(PART_READ.is_(1, name))
            yield from found


@contextmanager
def serve_figures(parts: Mapping[str, Part], port: int) -> Iterator[int]:
    """Answer Prometheus on a port of the loopback address while the block lasts; yield the port.

    Args:
        parts: name → what reads it.
        port: 0 takes a free one.
    Raises:
        PortTakenError: where the port is taken.
    """
    registry = CollectorRegistry()
    registry.register(Figures(parts))
    try:
        server, thread = start_http_server(port, LOOPBACK, registry)
    except OSError as error:
        raise PortTakenError(f"metrics on {LOOPBACK}:{port}: {error.strerror}; choose another port") from None
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _family(metric: Metric) -> Family:
    kind = CounterMetricFamily if metric.only_grows else GaugeMetricFamily
    return kind(metric.name, metric.about, labels=metric.labels)
