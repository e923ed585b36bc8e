"""The supervisor of a run: hands it to Flower, notices when its ServerApp is gone, and hands it in again."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Self

from common.errors import FederationError
from common.logs import logger
from server.result import COMPLETE, INCOMPLETE
from simulations.deployment.deployment import Deployment

log = logger(__name__)

LOOK_EVERY_S = 0.5
PAUSE_S = 4.0
START_PATIENCE_S = 60.0
"""How long a run that was handed in may take until its ServerApp is there."""


class Driver:
    """Drives one run from a thread of its own, until it is complete.

    A run that Flower calls failed is the same run to us: it is handed in again with `resume=true` and goes on from its
    journal. One that ended as incomplete goes on too, where the sites may be there again.

    Args:
        deployment: where it runs.
        settings: the run configuration, without `roster` and `resume`.
        retry_incomplete: whether an incomplete run is handed in again.
    """

    def __init__(self, deployment: Deployment, settings: Mapping[str, str], retry_incomplete: bool = True) -> None:
        self._deployment, self._settings = deployment, dict(settings)
        self._final = {COMPLETE} if retry_incomplete else {COMPLETE, INCOMPLETE}
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._drive, name="driver", daemon=True)
        self.submissions = 0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    @property
    def out(self) -> Path:
        """The run's folder."""
        return Path(self._settings["out"])

    @property
    def ended(self) -> str | None:
        """How the run ended; None while it goes on."""
        try:
            status = json.loads((self.out / "run.json").read_text())["status"]
        except (OSError, ValueError):
            return None
        return str(status) if status in self._final else None

    def wait(self, patience_s: float) -> str:
        """Return how the run ended. Raises FederationError where it has not after `patience_s`."""
        until = time.monotonic() + patience_s
        while time.monotonic() < until:
            if (status := self.ended) is not None:
                return status
            time.sleep(LOOK_EVERY_S)
        raise FederationError(f"{self.out}: has not ended after {patience_s:g} s; look into the deployment's logs")

    def _drive(self) -> None:
        while not self._over.is_set() and self.ended is None:
            try:
                roster = str(self._deployment.roster)
                self._deployment.submit({**self._settings, "roster": roster, "resume": self.submissions > 0})
            except FederationError as error:
                log.info("the run cannot be handed in yet: %s", error)
            else:
                self.submissions += 1
                self._watch()
            self._over.wait(PAUSE_S)

    def _watch(self) -> None:
        """Return once the ServerApp is gone, or where it never came."""
        until, came = time.monotonic() + START_PATIENCE_S, False
        while not self._over.is_set():
            lives = bool(self._deployment.server_apps())
            if (came and not lives) or (not came and time.monotonic() > until):
                return
            came = came or lives
            self._over.wait(LOOK_EVERY_S)
