"""The environment in which Flower is imported here: no telemetry, no update check, nothing installed at run time."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from common.processes.flower import QUIET

SETTINGS = QUIET | {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}


def quieten_flower() -> None:
    """Set what Flower and Ray read from the environment, before either is imported; what a user has set stays."""
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
    os.environ.setdefault("FLWR_HOME", str(Path(tempfile.gettempdir()) / f"gliofed-flower-{os.getuid()}"))
