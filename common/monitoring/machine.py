"""Facts that both sides have: the disk under a folder, and the version of the code."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

from common.monitoring.metric import Metric, Sample


def disk(folder: Path, free: Metric, total: Metric) -> Iterator[Sample]:
    """Yield the bytes that are free to this program, and all, of the disk under `folder`. Raises OSError."""
    usage = shutil.disk_usage(folder)
    yield free.is_(usage.free)
    yield total.is_(usage.total)
