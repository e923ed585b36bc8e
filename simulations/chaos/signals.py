"""Let a harness that is asked to end tidy up: whatever it started must not outlive it."""

from __future__ import annotations

import signal
from types import FrameType


def end_tidily() -> None:
    """Turn SIGTERM and SIGHUP into the exception that leaves every `with`."""

    def leave(number: int, frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, leave)
