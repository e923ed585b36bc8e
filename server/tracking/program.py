"""The MLflow server: on the loopback address, silent towards its makers, running nobody's jobs or pickles."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from common.files import make_folder
from common.processes.flower import LOOPBACK
from common.processes.program import Program
from server.consortium.folder import Consortium

SETTINGS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    "MLFLOW_SERVER_JOB_ENABLE_PERIODIC_TASKS": "false",
    "MLFLOW_ENABLE_AI_GATEWAY": "false",
    "MLFLOW_ENABLE_REMOTE_ASSISTANT": "false",
    "MLFLOW_SERVER_ENABLE_CUSTOM_SCORERS": "false",
    "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
    "MLFLOW_DISABLE_AGENT_HINT": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
}
"""Telemetry, jobs, gateway, assistant and unpickling off, for the server and for whoever writes to it."""


def folder_of(consortium: Consortium) -> Path:
    """Return where MLflow keeps its database and its artifacts."""
    return consortium.folder / "mlflow"


def address_of(consortium: Consortium) -> str:
    """Return where MLflow's pages are."""
    return f"http://{LOOPBACK}:{consortium.settings.ports.mlflow}"


def tracking_program(consortium: Consortium) -> Program:
    """Return the server, for whoever keeps it alive."""
    log = consortium.logs / "mlflow.log"
    return Program("mlflow", tracking_command(consortium), tracking_environment(), folder_of(consortium), log)


def tracking_command(consortium: Consortium) -> list[str]:
    """Return the words that start the server; its folder is made where it is missing."""
    folder = folder_of(consortium)
    make_folder(folder / "artifacts")
    options = {
        "--host": LOOPBACK,
        "--port": str(consortium.settings.ports.mlflow),
        "--backend-store-uri": f"sqlite:///{folder / 'mlflow.db'}",
        "--artifacts-destination": str(folder / "artifacts"),
        "--workers": "1",
    }
    return [sys.executable, "-P", "-m", "mlflow", "server", *(part for option in options.items() for part in option)]


def tracking_environment() -> dict[str, str]:
    """Return the server's whole environment."""
    return {**os.environ, **SETTINGS}
