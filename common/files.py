"""Files that are there whole or not at all: written aside, flushed to the disk, then renamed."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from common.errors import GliofedError, StudyError

PRIVATE = 0o600


def write_whole(path: Path, blob: bytes, mode: int = 0o666) -> None:
    """Write `blob` to `path`, creating its folder; a reader never meets a part of it.

    Args:
        mode: who may read it (less the umask), from the first byte on; `PRIVATE` for the owner alone.
    Raises:
        GliofedError: where the disk is full or the folder cannot be written; nothing stays behind.
    """
    aside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        make_folder(path.parent)
        with open(aside, "wb", opener=lambda name, flags: os.open(name, flags, mode)) as file:
            file.write(blob)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
        flush_folder(path.parent)
    except OSError as error:
        with contextlib.suppress(OSError):  # the folder itself may be the trouble
            aside.unlink(missing_ok=True)
        raise GliofedError(
            f"{path}: cannot be written ({error.strerror}); free space or choose another folder"
        ) from None


def read_at_most(path: Path, limit: int) -> bytes:
    """Return what a file holds. Raises StudyError where it cannot be read, or holds more than `limit` bytes."""
    try:
        with path.open("rb") as file:
            blob = file.read(limit + 1)
    except OSError as error:
        raise StudyError(f"{path}: cannot be read ({error.strerror}); correct the path or its permissions") from None
    if len(blob) > limit:
        raise StudyError(f"{path}: larger than {limit} bytes; this cannot be the file that was meant")
    return blob


def make_folder(folder: Path) -> None:
    """Create `folder` and what is missing above it, so that a power cut does not take the names back."""
    missing = [place for place in (folder, *folder.parents) if not place.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for place in missing:
        flush_folder(place.parent)


def flush_folder(folder: Path) -> None:
    """Put the names in `folder` on the disk: a renamed file has its new name for good only then."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
