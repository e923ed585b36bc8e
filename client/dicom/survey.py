"""A DICOM folder looked through, in any nesting: usable headers, and every other file with its reason."""

from __future__ import annotations

import hashlib
import os
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from client.dicom.header import Header, read_header
from client.dicom.reason import Reason
from common.errors import DataError

MOST_FILES = 500_000
"""Files of one import; their headers fit into about two gigabytes."""


@dataclass(frozen=True)
class Survey:
    """What a folder holds.

    Attributes:
        headers: one a distinct object.
        refused: the other files by reason.
        contested: SeriesInstanceUIDs that hold two different objects of one SOPInstanceUID.
    """

    headers: tuple[Header, ...]
    refused: dict[Reason, tuple[Path, ...]]
    contested: frozenset[str]


def survey(folder: Path, on_file: Callable[[int, int], None] | None = None) -> Survey:
    """Read the header of every file below `folder`; nothing is changed.

    Args:
        folder: of any nesting; links to folders are not followed.
        on_file: called with (files read, files in all).
    Raises:
        DataError: where it is no folder, is empty or holds more than MOST_FILES files.
    """
    refused: dict[Reason, list[Path]] = defaultdict(list)
    paths = _paths(folder, refused[Reason.UNREADABLE])
    objects: dict[str, Header] = {}
    contested: set[str] = set()
    for done, path in enumerate(paths, start=1):
        found = read_header(path)
        if isinstance(found, Reason):
            refused[found].append(path)
        elif found.sop not in objects:
            objects[found.sop] = found
        elif _same(found.path, objects[found.sop].path):
            refused[Reason.COPY].append(path)
        else:
            refused[Reason.CONTESTED].append(path)
            contested |= {found.series, objects[found.sop].series}
        if on_file is not None:
            on_file(done, len(paths))
    listed = {reason: tuple(refused[reason]) for reason in Reason if refused[reason]}
    return Survey(tuple(objects.values()), listed, frozenset(contested))


def _paths(folder: Path, closed: list[Path]) -> list[Path]:
    """Return all files below `folder`, sorted; folders that cannot be opened go to `closed`."""
    if not folder.is_dir():
        raise DataError(f"{folder}: not a folder; give the folder of an export from the archive")
    paths: list[Path] = []
    for path in _walk(folder, closed):
        paths.append(path)
        if len(paths) > MOST_FILES:
            raise DataError(f"{folder}: more than {MOST_FILES} files; import it in parts, whole patients in each")
    if not paths and not closed:
        raise DataError(f"{folder}: is empty; give the folder of an export from the archive")
    return sorted(paths)


def _walk(folder: Path, closed: list[Path]) -> Iterator[Path]:
    """Yield everything that is no folder, linked folders too; without recursion, however deep the folders go."""
    waiting = [folder]
    while waiting:
        place = waiting.pop()
        try:
            with os.scandir(place) as listing:
                entries = list(listing)
        except OSError:
            closed.append(place)
            continue
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                waiting.append(Path(entry.path))
            else:
                yield Path(entry.path)


def _same(one: Path, other: Path) -> bool:
    """Say whether two files are equal, byte by byte."""
    return _digest(one) == _digest(other)


def _digest(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); correct its permissions") from None
