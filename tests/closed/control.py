"""Flower's Control API as anybody calls it who reaches it: it asks nobody who he is."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Self

from flwr.common.serde import user_config_to_proto
from flwr.proto.control_pb2 import ListRunsRequest, RegisterNodeRequest, StartRunRequest
from flwr.proto.fab_pb2 import Fab
from flwr.proto.run_pb2 import RunStatus
from flwr.supercore.control import ControlHttpClient
from flwr.supercore.interceptors import RuntimeVersionHttpInterceptor


class Control:
    """A connection to the Control API at an address, within its `with`.

    Args:
        root: file of the CA certificate.
    """

    def __init__(self, address: str, root: Path) -> None:
        self._client = ControlHttpClient.from_server_address(
            address, False, root.read_bytes(), [RuntimeVersionHttpInterceptor(component_name="flwr-cli")]
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def submit(self, settings: Mapping[str, str | bool], bundle: bytes = b"", app: str = "") -> int:
        """Submit a run of these bytes, or of the app that the hub knows under a name; return its number."""
        request = StartRunRequest(override_config=user_config_to_proto(dict(settings)), app_spec=app)
        if bundle:
            request.fab.CopyFrom(Fab(content=bundle))
        return int(self._client.StartRun(request).run_id)

    def status(self, run: int) -> RunStatus:
        """Return what Flower says of a run."""
        return self._client.ListRuns(ListRunsRequest(run_id=run)).run_dict[run].status

    def register(self, public_key: bytes) -> None:
        """Register a key as a node's."""
        self._client.RegisterNode(RegisterNodeRequest(public_key=public_key, name="x"))

    def list_runs(self) -> None:
        """Ask for all runs."""
        self._client.ListRuns(ListRunsRequest())
