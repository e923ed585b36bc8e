"""The code that runs at a site or at the coordinator: as it is installed, and as a bundle of Flower's ships it."""

from __future__ import annotations

import hashlib
import io
import struct
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from common.errors import StudyError

PACKAGES = ("client", "common", "server")
MAX_BUNDLE_BYTES = 10 * 1024 * 1024
"""Flower's own limit."""

MAX_FILES, MAX_FILE_BYTES, MAX_SOURCE_BYTES = 5000, 1024 * 1024, 64 * 1024 * 1024
DAMAGED = (
    *(zipfile.BadZipFile, zipfile.LargeZipFile, zlib.error, struct.error, OSError, ValueError, EOFError),
    *(NotImplementedError, RuntimeError, KeyError, IndexError, OverflowError),
)
"""What reading a damaged archive raises."""


@dataclass(frozen=True)
class Shipped:
    """A bundle as it came: its digest, computed here, and whether it holds the installed code and no other."""

    sha256: str
    same_code: bool

    @classmethod
    def of(cls, bundle: bytes) -> Shipped:
        """Look at a bundle without running anything of it; one that cannot be read holds other code."""
        try:
            same = bundled_digests(bundle) == installed_digests()
        except StudyError:
            same = False
        return cls(hashlib.sha256(bundle).hexdigest(), same)


@cache
def installed_sources() -> Mapping[str, bytes]:
    """Return path, with forward slashes, → content of every source of ours, sorted by path."""
    root = Path(__file__).resolve().parent.parent
    paths = sorted(path for package in PACKAGES for path in (root / package).rglob("*.py"))
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in paths}


@cache
def installed_digests() -> Mapping[str, str]:
    """Return path → SHA-256 of every source of ours."""
    return {path: hashlib.sha256(content).hexdigest() for path, content in installed_sources().items()}


def bundled_digests(bundle: bytes) -> dict[str, str]:
    """Return path → SHA-256 of the sources in a bundle of Flower's; nothing is unpacked and nothing is run.

    Raises:
        StudyError: where it is no bundle, or larger than a bundle may be.
    """
    if len(bundle) > MAX_BUNDLE_BYTES:
        raise StudyError(f"the bundle has {len(bundle)} bytes, more than Flower's limit; it is none of GlioFed's")
    try:
        with zipfile.ZipFile(io.BytesIO(bundle)) as archive:
            return _digests(archive)
    except DAMAGED as error:
        raise StudyError(f"the bundle cannot be read ({type(error).__name__}); ask the coordinator for it") from None


def _digests(archive: zipfile.ZipFile) -> dict[str, str]:
    """Hash the sources in `archive`; what it says of their sizes is not believed."""
    found: dict[str, str] = {}
    left = MAX_SOURCE_BYTES
    for entry in archive.infolist():
        if entry.filename in found or len(found) == MAX_FILES:
            raise StudyError("the bundle names a file twice, or too many; it is none of GlioFed's")
        if entry.filename.endswith(".py"):
            with archive.open(entry) as file:
                content = file.read(MAX_FILE_BYTES + 1)
            left -= len(content)
            if len(content) > MAX_FILE_BYTES or left < 0:
                raise StudyError("the bundle unpacks to more than GlioFed's sources; it is none of GlioFed's")
            found[entry.filename] = hashlib.sha256(content).hexdigest()
    return found
