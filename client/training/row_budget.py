"""How many rows of a batch a site's memory holds, learnt as memory runs out."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from common.errors import DataError
from common.logs import logger

log = logger(__name__)


class OutOfMemoryError(DataError):
    """A single row of a batch does not fit into memory."""

    code = "out-of-memory"


@dataclass
class RowBudget:
    """How many rows go through the networks at once; None is the whole batch. Halved when memory runs out."""

    rows: int | None = None

    def after_shortage(self, tried: int) -> None:
        """Remember half of the rows that did not fit. Raises OutOfMemoryError where that was one."""
        if tried <= 1:
            raise OutOfMemoryError(
                "a single slice does not fit into memory; stop what else runs on the device, "
                "or ask the study for a smaller grid or size"
            )
        self.rows = tried // 2
        log.warning("out of memory with %d rows at once; going on with %d, gradients summed", tried, self.rows)


_budget: ContextVar[RowBudget | None] = ContextVar("row_budget", default=None)


@contextmanager
def within(budget: RowBudget) -> Iterator[None]:
    """Let every `minimise` inside the context keep to `budget`, and teach it."""
    token = _budget.set(budget)
    try:
        yield
    finally:
        _budget.reset(token)


def current_budget() -> RowBudget:
    """Return the budget of the context, or one that knows no limit."""
    return _budget.get() or RowBudget()
