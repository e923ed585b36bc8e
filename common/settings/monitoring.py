"""Where a site's people watch it, and how often it tries to reach the coordinator."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from common.settings.frozen import Frozen

Port = Annotated[int, Field(ge=0, le=65_535)]


class Monitoring(Frozen):
    """Ports of the loopback address, and the heartbeat.

    Attributes:
        metrics_port: figures for Prometheus; 0 takes a free port.
        health_port: gRPC health; 0 takes a free port.
        heartbeat_s: pause between two tries to reach the server.
    """

    metrics_port: Port = 9466
    health_port: Port = 9467
    heartbeat_s: Annotated[float, Field(ge=0.1, le=600)] = 30.0
