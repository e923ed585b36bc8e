"""glibc's allocator, told to keep what is freed: most of a large step's time on a CPU went into fresh pages.

By default every large tensor is mapped anew from the kernel, its pages zeroed one fault at a time, and given back when
it is freed (42 % of the time of the published CBSI code).
"""

from __future__ import annotations

import ctypes
import sys
from functools import cache

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4
NEVER = 2**31 - 1


@cache
def keep_freed_memory() -> bool:
    """Let this process reuse freed memory instead of giving it back; return whether it does.

    Once a process; without glibc nothing happens. The process then stays as large as its largest moment. Only the main
    thread's heap can grow without bound: large tensors that other threads allocate are mapped as before.
    """
    if sys.platform != "linux":
        return False
    libc = ctypes.CDLL(None)
    if not hasattr(libc, "gnu_get_libc_version"):
        return False
    return bool(libc.mallopt(M_MMAP_MAX, 0)) and bool(libc.mallopt(M_TRIM_THRESHOLD, NEVER))
