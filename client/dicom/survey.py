"""A DICOM folder looked through, in any nesting: usable headers, and every other file with its reason."""

from __future__ import annotations

import hashlib
import os
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from client.dicom.header import Header
from client.dicom.objects import read_object
from client.dicom.reason import Reason
from common.errors import DataError

MOST_FILES = 500_000
"""Files of one import, and slices in them; their headers fit into about two gigabytes."""


@dataclass(frozen=True)
class Survey:
    """What a folder holds.

    Attributes:
        headers: one a slice of every distinct object.
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
        DataError: where it is no folder, is empty or holds more than MOST_FILES files or slices.
    """
    refused: dict[Reason, list[Path]] = defaultdict(list)
    paths = _paths(folder, refused[Reason.UNREADABLE])
    objects: dict[str, Header] = {}
    headers: list[Header] = []
    contested: set[str] = set()
    for done, path in enumerate(paths, start=1):
        slices = read_object(path)
        if isinstance(slices, Reason):
            refused[slices].append(path)
        elif (known := objects.setdefault(slices[0].sop, slices[0])) is slices[0]:
            headers += slices
            _bounded(folder, len(headers), "slices")
        elif _same(path, known.path):
            refused[Reason.COPY].append(path)
        else:
            refused[Reason.CONTESTED].append(path)
            contested |= {slices[0].series, known.series}
        if on_file is not None:
            on_file(done, len(paths))
    listed = {reason: tuple(refused[reason]) for reason in Reason if refused[reason]}
    return Survey(tuple(headers), listed, frozenset(contested))


def _paths(folder: Path, closed: list[Path]) -> list[Path]:
    """Return all files below `folder`, sorted; folders that cannot be opened go to `closed`."""
    if not folder.is_dir():
        raise DataError(f"{folder}: not a folder; give the folder of an export from the archive")
    paths: list[Path] = []
    for path in _walk(folder, closed):
        paths.append(path)
        _bounded(folder, len(paths), "files")
    if not paths and not closed:
        raise DataError(f"{folder}: is empty; give the folder of an export from the archive")
    return sorted(paths)


def _bounded(folder: Path, number: int, things: str) -> None:
    if number > MOST_FILES:
        raise DataError(f"{folder}: more than {MOST_FILES} {things}; import it in parts, whole patients in each")


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
