"""A file of which only so much is read: a header that claims more is refused before it fills the memory."""

from __future__ import annotations

from typing import IO


class SpentError(Exception):
    """More was asked of a file than its budget."""


class Metered:
    """A file opened for reading whose `read` raises once more than `budget` bytes were asked of it; seeking is free."""

    def __init__(self, file: IO[bytes], budget: int) -> None:
        self._file, self._left = file, budget

    def read(self, length: int = -1) -> bytes:
        """Return `length` bytes; raises SpentError beyond the budget, and for all that is left of a file."""
        if length < 0 or length > self._left:
            raise SpentError
        self._left -= length
        return self._file.read(length)

    def seek(self, place: int, whence: int = 0) -> int:
        """Go to a place, as files do."""
        return self._file.seek(place, whence)

    def tell(self) -> int:
        """Return the place, as files do."""
        return self._file.tell()
