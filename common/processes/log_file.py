"""The file into which a program's output goes: read as it grows, and cut before it fills the disk."""

from __future__ import annotations

import shutil
from pathlib import Path

from common.files import make_folder

MAX_BYTES = 16 * 1024 * 1024
"""How large a log grows; what was in it is then kept once, as `<name>.1`."""

MAX_LINE = 4096


class LogFile:
    """A log that its writers append to.

    Args:
        path: the file; its folder is made where there is none.
        max_bytes: the size beyond which `cut` sets it aside.
    """

    def __init__(self, path: Path, max_bytes: int = MAX_BYTES) -> None:
        self.path, self._max_bytes = path, max_bytes
        self._read_to, self._rest = 0, b""
        make_folder(path.parent)

    @property
    def _size(self) -> int:
        return self.path.stat().st_size if self.path.exists() else 0

    def begin(self) -> None:
        """Regard what is written from now on as new."""
        self._read_to, self._rest = self._size, b""

    def new_text(self) -> str:
        """Return what was written since `begin` or the last call, from the beginning of its first line on."""
        if self._size < self._read_to:  # it was cut meanwhile
            self._read_to, self._rest = 0, b""
        if not self.path.exists():
            return ""
        with self.path.open("rb") as file:
            file.seek(self._read_to)
            found = file.read(self._max_bytes)
        self._read_to += len(found)
        text = self._rest + found
        self._rest = text[text.rfind(b"\n") + 1 :][-MAX_LINE:]
        return text.decode("utf-8", "replace")

    def cut(self) -> None:
        """Where the log is too large, keep a copy and empty it in place: its writers hold it open, and append."""
        if self._size > self._max_bytes:
            shutil.copyfile(self.path, self.path.with_name(f"{self.path.name}.1"))
            with self.path.open("r+b") as file:
                file.truncate(0)
