"""How a run hears what people ask of it: it looks into its journal at every safe point, and acts there."""

from __future__ import annotations

import time

from common.logs import logger
from server.journal import Journal

log = logger(__name__)

POLL_S = 0.5
"""How often a run looks for requests, at most."""


class StopRequestedError(Exception):
    """Somebody asked the run to stop; what counts stands, the sites are told."""


class Control:
    """The requests to one run, as its driver meets them."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._looked_at = float("-inf")

    def safe_point(self) -> float:
        """Stand still while the run is paused, and return for how many seconds. Raises StopRequestedError."""
        began = time.monotonic()
        if began - self._looked_at < POLL_S:
            return 0.0
        told = False
        while True:
            self._looked_at = time.monotonic()
            asked = self._journal.requests.asked()
            if not asked.acted:
                self._journal.requests.acted()
            if asked.stopped:
                raise StopRequestedError
            if not asked.paused:
                return time.monotonic() - began if told else 0.0
            if not told:
                log.info("run %s is paused; `gliofed-server resume RUN` goes on", self._journal.run)
                told = True
            time.sleep(POLL_S)
