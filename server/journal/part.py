"""What every part of the journal stands on: the run's folder, its study, and the database in it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from common.study import Study
from server.journal.database import Database
from server.journal.requests import Requests

Record = Mapping[str, Any]


class Part:
    """The run in the folder `out`; `requests` is what people ask of it."""

    def __init__(self, out: Path, study: Study, database: Database) -> None:
        self.out, self.study = out, study
        self.requests = Requests(database)
        self._database = database


def sha256(blob: bytes) -> str:
    """Return the SHA-256 of bytes as 64 hex digits."""
    return hashlib.sha256(blob).hexdigest()
