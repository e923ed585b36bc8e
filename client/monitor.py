"""What a running site can be watched by: whoever runs it in this process may listen to its steps; nothing leaves it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

from common.settings.stages import Stage


@dataclass(frozen=True)
class StepDone:
    """Step `step` of `steps` of a round is done at `site`, with its losses."""

    site: str
    stage: Stage
    round: int
    step: int
    steps: int
    losses: dict[str, float] = field(default_factory=dict)


Watcher = Callable[[StepDone], None]

_watcher: ContextVar[Watcher | None] = ContextVar("watcher", default=None)


@contextmanager
def watching(watcher: Watcher | None) -> Iterator[None]:
    """Let `watcher` hear of every step that is trained inside the context."""
    token = _watcher.set(watcher)
    try:
        yield
    finally:
        _watcher.reset(token)


def report_step(done: StepDone) -> None:
    """Tell the watcher, where there is one."""
    watcher = _watcher.get()
    if watcher is not None:
        watcher(done)
