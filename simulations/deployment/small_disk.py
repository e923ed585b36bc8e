"""A disk that can be filled and freed again: a small file system in memory where the kernel lets us mount one."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Self

SPARE_BYTES = 64 * 1024


class SmallDisk:
    """Mounts a tmpfs of `size_mb` on `folder` for as long as its `with` lasts; needs the right to mount.

    Attributes:
        mounted: whether it was let; where not, the folder lies on the machine's own disk and cannot be filled.
    """

    def __init__(self, folder: Path, size_mb: int) -> None:
        self.folder, self.size_mb = folder, size_mb
        self.mounted = False

    def __enter__(self) -> Self:
        self.folder.mkdir(parents=True, exist_ok=True)
        options = f"size={self.size_mb}m,mode=0700"
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", options, "gliofed-chaos", str(self.folder)], capture_output=True, check=False
        )
        self.mounted = done.returncode == 0
        return self

    def __exit__(self, *_: object) -> None:
        if self.mounted:
            subprocess.run(["umount", "--lazy", str(self.folder)], capture_output=True, check=True)

    @property
    def _filler(self) -> Path:
        return self.folder / "filler"

    def fill(self) -> int:
        """Fill it but for some KiB; return how many bytes that took."""
        free = os.statvfs(self.folder)
        size = max(0, free.f_bavail * free.f_frsize - SPARE_BYTES)
        with self._filler.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, size)
        return size

    def free(self) -> None:
        """Free what `fill` took."""
        self._filler.unlink(missing_ok=True)
