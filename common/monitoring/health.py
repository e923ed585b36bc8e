"""gRPC health (`grpc.health.v1`) on the loopback address: serving only while every check says so."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from common.logs import logger
from common.monitoring.exporter import LOOPBACK, PortTakenError

log = logger(__name__)

LOOK_EVERY_S = 0.5
WHOLE = ""
"""The service name under which gRPC asks for the program as a whole: serving where every check is."""

Check = Callable[[], bool]


@contextmanager
def serve_health(checks: Mapping[str, Check], port: int) -> Iterator[int]:
    """Answer health probes on a port of the loopback address while the block lasts; yield the port.

    Args:
        checks: service name → whether it is well; asked twice a second, so it must answer at once.
        port: 0 takes a free one.
    Raises:
        PortTakenError: where the port is taken.
    """
    import grpc  # type: ignore[import-untyped]
    from grpc_health.v1.health import HealthServicer  # type: ignore[import-untyped]
    from grpc_health.v1.health_pb2 import HealthCheckResponse  # type: ignore[import-untyped]
    from grpc_health.v1.health_pb2_grpc import add_HealthServicer_to_server  # type: ignore[import-untyped]

    servicer, over = HealthServicer(), threading.Event()

    def look() -> None:
        well = {name: _is_well(check) for name, check in checks.items()}
        for name, serves in (*well.items(), (WHOLE, all(well.values()))):
            servicer.set(name, HealthCheckResponse.SERVING if serves else HealthCheckResponse.NOT_SERVING)

    def go_on() -> None:
        while not over.wait(LOOK_EVERY_S):
            look()

    look()
    server = grpc.server(ThreadPoolExecutor(4, "health"), options=[("grpc.so_reuseport", 0)])
    add_HealthServicer_to_server(servicer, server)
    try:
        bound = server.add_insecure_port(f"{LOOPBACK}:{port}")
    except RuntimeError:
        raise PortTakenError(f"health on {LOOPBACK}:{port}: the port is taken; choose another port") from None
    thread = threading.Thread(target=go_on, name="health", daemon=True)
    server.start()
    thread.start()
    try:
        yield bound
    finally:
        over.set()
        thread.join()
        servicer.enter_graceful_shutdown()
        server.stop(grace=0.5).wait()


def _is_well(check: Check) -> bool:
    """Ask a check; one that cannot say is not well, and must not end the thread that would say so."""
    try:
        return check()
    except Exception:
        log.exception("a health check cannot say how it is")
        return False
