"""One command at a time changes who takes part: two admissions beside each other would lose one of them."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager

from common.errors import StudyError
from server.consortium.folder import Consortium


@contextmanager
def alone(consortium: Consortium) -> Iterator[None]:
    """Keep other commands of this kind out until the block ends. Raises StudyError where one is at work."""
    with (consortium.folder / ".lock").open("ab") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StudyError(
                f"{consortium.folder}: another command admits, revokes or signs; let it end, then give this one again"
            ) from None
        yield
