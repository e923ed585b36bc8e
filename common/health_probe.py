"""`python -m common.health_probe HOST:PORT [SERVICE]`: ask a program's gRPC health; exit 0 where it serves, else 1."""

from __future__ import annotations

import sys

PATIENCE_S = 5.0
USAGE = "usage: python -m common.health_probe HOST:PORT [SERVICE]\n"


def probe(address: str, service: str = "", *, patience_s: float = PATIENCE_S) -> str:
    """Return `SERVING`, `NOT_SERVING`, `SERVICE_UNKNOWN`, or the name of what went wrong on the way."""
    import grpc  # type: ignore[import-untyped]
    from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse  # type: ignore[import-untyped]
    from grpc_health.v1.health_pb2_grpc import HealthStub  # type: ignore[import-untyped]

    with grpc.insecure_channel(address, options=[("grpc.enable_http_proxy", 0)]) as channel:
        try:
            answer = HealthStub(channel).Check(HealthCheckRequest(service=service), timeout=patience_s)
        except grpc.RpcError as error:
            return str(error.code().name)
    return str(HealthCheckResponse.ServingStatus.Name(answer.status))


def main(arguments: list[str]) -> int:
    """Print one word and return the exit status."""
    if not 1 <= len(arguments) <= 2 or arguments[0].startswith("-"):
        sys.stderr.write(USAGE)
        return 2
    said = probe(*arguments)
    sys.stdout.write(f"{said}\n")
    return 0 if said == "SERVING" else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
