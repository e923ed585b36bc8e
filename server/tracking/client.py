"""The way to MLflow: its own client, kept silent, and an error that says what to do where nobody answers."""

from __future__ import annotations

import os
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from common.errors import GliofedError
from common.processes.flower import LOOPBACK
from server.tracking.program import SETTINGS

if TYPE_CHECKING:
    from mlflow import MlflowClient

PATIENCE_S = 5.0


@contextmanager
def open_client(address: str) -> Iterator[MlflowClient]:
    """Yield a client of the server at `address`, `http://host:port`.

    Raises:
        GliofedError: where nobody answers there, or refuses what is written.
    """
    try:
        urllib.request.build_opener(urllib.request.ProxyHandler({})).open(
            f"{address}/health", timeout=PATIENCE_S
        ).close()
    except (OSError, ValueError, urllib.error.URLError):
        raise GliofedError(
            f"{address}: no MLflow answers; start it with `gliofed-server tracking CONSORTIUM`"
        ) from None
    os.environ.update(SETTINGS)  # MLflow reads them when it is imported, and again with every request
    for name in ("NO_PROXY", "no_proxy"):  # and would ask a hospital's proxy for this very machine
        if LOOPBACK not in (given := os.environ.get(name, "")):
            os.environ[name] = ",".join(filter(None, [given, LOOPBACK]))
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    try:
        yield MlflowClient(tracking_uri=address, registry_uri=address)
    except MlflowException as error:
        raise GliofedError(f"{address}: MLflow refuses what is mirrored: {str(error)[:300]}") from None
