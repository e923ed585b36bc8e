"""Facts that both sides have: the disk under a folder, and how long a certificate lasts."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

from common.identity.certificates import A_DAY, days_left
from common.monitoring.metric import Metric, Sample


def disk(folder: Path, free: Metric, total: Metric) -> Iterator[Sample]:
    """Yield the bytes that are free to this program, and all, of the disk under `folder`. Raises OSError."""
    usage = shutil.disk_usage(folder)
    yield free.is_(usage.free)
    yield total.is_(usage.total)


def certificate(path: Path, name: str, left: Metric) -> Sample:
    """Return how long the first certificate to end in a file lasts. Raises StudyError where there is none."""
    return left.is_(days_left(path) * A_DAY.total_seconds(), name)
