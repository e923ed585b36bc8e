"""The machine's memory: how much a process may have, and whether an error says that it ran out."""

from __future__ import annotations

import os
from pathlib import Path

import torch

SHORTAGE = ("can't allocate memory", "cannot allocate memory", "not enough memory", "out of memory")
CGROUP = Path("/sys/fs/cgroup")
CGROUP_LIMITS = ("memory.max", "memory/memory.limit_in_bytes")
"""Where a container's limit stands, under cgroup 2 and cgroup 1."""


def memory_bytes(cgroup: Path = CGROUP) -> int:
    """Return the machine's memory, or a container's limit where that is less; 0 where the system tells neither."""
    try:
        machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # not on every system
        return 0
    return min([machine, *(limit for name in CGROUP_LIMITS if (limit := _limit(cgroup / name)) is not None)])


def is_shortage(error: BaseException) -> bool:
    """Whether an error says that memory ran out, on a GPU or on a CPU, whose errors torch tells by their text alone."""
    known = isinstance(error, torch.OutOfMemoryError | MemoryError)
    return known or any(text in str(error).lower() for text in SHORTAGE)


def _limit(file: Path) -> int | None:
    try:
        text = file.read_text("utf-8").strip()
    except OSError:
        return None
    return int(text) if text.isdecimal() else None  # "max" is no limit
