"""One thing found wrong, or worth knowing, in a site's folder."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path


class Severity(StrEnum):
    """`error`: not to be used until mended; `warning`: a person should look; `information`: handled, worth knowing."""

    ERROR = "error"
    WARNING = "warning"
    INFORMATION = "information"

    @property
    def noun(self) -> str:
        """The word after a count of one."""
        return "note" if self is Severity.INFORMATION else self.value


@dataclass(frozen=True)
class Finding:
    """What was found, where, and what to do about it. Names a case and a path, so it never leaves the site.

    Attributes:
        severity: how bad it is.
        case: the case, or "" where no single one is meant.
        file: the file, or None where the whole case is meant.
        finding: what was found.
        remedy: what to change.
        code: short name of the kind of finding, for machines.
    """

    severity: Severity
    case: str
    file: Path | None
    finding: str
    remedy: str
    code: str = ""

    def __str__(self) -> str:
        where = " ".join(part for part in (self.case, str(self.file or "")) if part)
        return f"{where}: {self.finding}; {self.remedy}"
