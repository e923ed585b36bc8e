"""Fills that were drawn before, remembered within the process up to a limit of memory.

A slice is drawn for a batch many times, and by the same frozen generator through all rounds of a stage. Forgetting or
a new process costs time and never changes a value: each fill is a function of its key.
"""

from __future__ import annotations

from collections import OrderedDict
from threading import Lock
from typing import NamedTuple

from torch import Tensor

from client.memory import memory_bytes
from common.sequences import Domain, Sequence

LEAST_BYTES = 256 * 2**20
MEMORY_SHARE = 8
"""One part in so many of the memory may hold fills. `LEAST_BYTES` alone is 745 slices of 424 x 424: a site of the
papers' size forgot most of them before they were asked for again."""


def default_limit() -> int:
    """Return how many bytes of fills a process remembers: an eighth of the machine's memory, at least 256 MiB."""
    return max(LEAST_BYTES, memory_bytes() // MEMORY_SHARE)


class FillKey(NamedTuple):
    """What a fill depends on: the generator's weights, the case's cache file, slice and domains."""

    generator: str
    case: str
    slice: int
    source: Sequence
    target: Domain


class FillMemo:
    """The most recently used fills, (1, H, W) float16; safe to share between threads."""

    def __init__(self, limit_bytes: int | None = None) -> None:
        """Remember up to `limit_bytes`, by default `default_limit`."""
        self.limit_bytes = default_limit() if limit_bytes is None else limit_bytes
        self._fills: OrderedDict[FillKey, Tensor] = OrderedDict()
        self._bytes = 0
        self._lock = Lock()

    def recall(self, key: FillKey) -> Tensor | None:
        """Return the fill, or None where it is not remembered."""
        with self._lock:
            if key in self._fills:
                self._fills.move_to_end(key)
            return self._fills.get(key)

    def keep(self, key: FillKey, fill: Tensor) -> None:
        """Remember a fill, and forget the least recently used ones beyond the limit."""
        with self._lock:
            if key not in self._fills:
                self._fills[key] = fill
                self._bytes += fill.nbytes
            while self._bytes > self.limit_bytes:
                self._bytes -= self._fills.popitem(last=False)[1].nbytes


SHARED_MEMO = FillMemo()
"""The process's memo."""
