"""Whether a file was drawn by a release: such an image is never real, never a target, never counted."""

from __future__ import annotations

import gzip
import json
import re
import zlib
from pathlib import Path
from typing import Any

from client.data.checks.finding import Finding, Severity
from client.data.checks.personal import extension_text, read_sidecar
from client.data.checks.reading import RawScan

RELEASE_MARK = re.compile(rb"SYNTHETIC [0-9a-f]{12}")
"""How `complete` begins the 80-byte description of all that it writes."""

DESCRIPTIONS = (slice(148, 228), slice(240, 320))
"""Where the description lies in a NIfTI-1 and in a NIfTI-2 header."""


def check_provenance(scan: RawScan, case: str) -> list[Finding]:
    """Return a finding where description, header extension or JSON sidecar say that a release drew the image."""
    marks = [_json(extension_text(extension)) for extension in scan.header.extensions]
    drawn = RELEASE_MARK.match(scan.header["descrip"].tobytes()) is not None
    return [synthetic(scan.path, case)] if drawn or any(map(_says_so, [*marks, read_sidecar(scan.path)])) else []


def is_marked(path: Path) -> bool:
    """Say whether a file's description or JSON sidecar has the mark; reads nothing else, and no damaged file."""
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            start = file.read(540)
    except (OSError, EOFError, zlib.error):
        return False
    return any(RELEASE_MARK.match(start[place]) for place in DESCRIPTIONS) or _says_so(read_sidecar(path))


def synthetic(path: Path, case: str) -> Finding:
    """Return the finding for a file that a release has drawn."""
    remedy = "remove it: what a release has drawn is never a real scan, nor a target to learn"
    return Finding(Severity.ERROR, case, path, "marked synthetic by a release, offered as real", remedy, "synthetic")


def _says_so(mark: dict[str, Any]) -> bool:
    return "release" in mark and bool(mark.get("synthetic"))


def _json(text: str) -> dict[str, Any]:
    """Return the JSON object that a header extension holds, or nothing."""
    try:
        content = json.loads(text.strip("\0 \n"))
    except (ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}
