"""What a check found: a mark, words for the people at the site, and a code with figures that may be told elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class Mark(StrEnum):
    """`pass`; `warn`: a person should look; `fail`: mend it; `skip`: not checked, for what it needs is not there."""

    PASS = "pass"  # noqa: S105
    WARN = "warn"
    FAIL = "fail"
    SKIP = "skip"


@dataclass(frozen=True)
class Finding:
    """One check's result.

    Attributes:
        mark: how it went.
        what: what was found; may name paths and cases, so it stays at the site.
        remedy: what to do, "" where there is nothing to do.
        code: short name of the problem, "" where there is none. A word of this program's, never of the site's.
        figures: counts and measures. They and the code are all that a shared report holds.
    """

    mark: Mark
    what: str
    remedy: str = ""
    code: str = ""
    figures: Mapping[str, float] = field(default_factory=dict)


class NotCheckedError(Exception):
    """A check needs something that is not there; what that is, another check has found."""


def passed(what: str, **figures: float) -> Finding:
    """Return that all is well."""
    return Finding(Mark.PASS, what, figures=figures)


def warned(code: str, what: str, remedy: str, **figures: float) -> Finding:
    """Return that a person should look."""
    return Finding(Mark.WARN, what, remedy, code, figures)


def failed(code: str, what: str, remedy: str, **figures: float) -> Finding:
    """Return that something must be mended."""
    return Finding(Mark.FAIL, what, remedy, code, figures)
