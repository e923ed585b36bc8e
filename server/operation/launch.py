"""A run that nobody drives any more is submitted to its SuperLink again, as its journal holds it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from common.errors import FederationError
from common.processes.flower import QUIET
from server.journal import Journal

SUBMIT_S = 300.0


def resubmit(out: Path, superlink: str, app: Path = Path()) -> str:
    """Submit the run in `out` again, to go on after the last round that counts; return what Flower says.

    Args:
        out: the run's folder, as the coordinator's machine sees it.
        superlink: the connection's name in Flower's `config.toml`.
        app: folder of the installed GlioFed source, with its pyproject.toml.
    Raises:
        StudyError: where `out` holds no run.
        FederationError: where Flower does not take it.
    """
    with Journal.look_into(out) as journal:
        settings = journal.settings
    return submit(settings, superlink, app)


def submit(
    settings: Mapping[str, bool | str], superlink: str, app: Path | str, environment: Mapping[str, str] | None = None
) -> str:
    """Hand a run configuration to `flwr run`; return what it says.

    Args:
        app: folder of the source, or the name under which a hub knows it.
        environment: of `flwr`; this process's own where none is given.
    Raises:
        FederationError: where Flower does not take it.
    """
    flower = Path(sys.executable).with_name("flwr")
    command = [str(flower), "run", str(app), superlink, "--run-config", run_config(settings), "--format", "json"]
    own = {**os.environ, **QUIET} if environment is None else dict(environment)
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=SUBMIT_S, check=False, env=own)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise FederationError(f"flwr run: {type(error).__name__}; look whether the SuperLink is there") from None
    if done.returncode:
        said = (done.stderr or done.stdout).strip()[-500:]
        raise FederationError(f"flwr run ended with {done.returncode}: {said}")
    return done.stdout.strip()


def run_config(settings: Mapping[str, bool | str]) -> str:
    """Return the settings as `flwr run --run-config` wants them: TOML values, a blank between two."""
    return " ".join(f"{key}={json.dumps(value)}" for key, value in sorted(settings.items()))
