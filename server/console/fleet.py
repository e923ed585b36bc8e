"""The fleet as a page needs it: the last answer at once, the next one fetched aside while somebody looks."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping

from server.facts import Fleet, NodeSeen

FRESH_S, FIRST_S = 10.0, 4.0
"""Age up to which an answer is good, and how long the first page waits for one: the SuperLink takes seconds."""
STALE_S = 90.0
"""Age from which an answer is none: nobody had looked for so long."""


class FleetAside:
    """A fleet that asks `fleet` on a thread of its own, one question at a time."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet, self._lock = fleet, threading.Lock()
        self._asking: threading.Thread | None = None
        self._at = float("-inf")
        self._nodes: Mapping[int, NodeSeen] | None = None

    def __call__(self) -> Mapping[int, NodeSeen] | None:
        """Return the nodes as they were a moment ago; None where nobody knows."""
        now = time.monotonic()
        with self._lock:
            age = now - self._at
            if age >= FRESH_S and (self._asking is None or not self._asking.is_alive()):
                self._asking = threading.Thread(target=self._ask, daemon=True)
                self._asking.start()
            asking = self._asking
        if age >= STALE_S and asking is not None:
            asking.join(FIRST_S)
        with self._lock:
            return self._nodes if time.monotonic() - self._at < STALE_S else None

    def _ask(self) -> None:
        nodes = self._fleet()
        with self._lock:
            self._at, self._nodes = time.monotonic(), nodes
