"""Values of DICOM elements as bounded text and finite numbers; one that is not there or not readable is empty or None.

A value that fits its meaning badly (letters where a number belongs) counts as missing: recognition then has less to go
by, and says so.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pydicom import Dataset

LONGEST = 256
"""Characters of a text that are looked at."""

MOST = 32
"""Values of one element that are looked at."""

UID = re.compile(r"[0-9]+(\.[0-9]+)+")


def uid(dataset: Dataset, keyword: str) -> str:
    """Return a well-formed UID of at most 64 characters, or nothing."""
    value = text(dataset, keyword)
    return value if len(value) <= 64 and UID.fullmatch(value) else ""


def text(dataset: Dataset, keyword: str) -> str:
    """Return an element as one line, several values parted by backslashes."""
    value = "\\".join(str(each) for each in _values(dataset, keyword))
    return "".join(letter if letter.isprintable() else " " for letter in value[:LONGEST]).strip()


def words(dataset: Dataset, keyword: str) -> tuple[str, ...]:
    """Return the values of an element in upper case."""
    return tuple(str(each).strip().upper()[:LONGEST] for each in _values(dataset, keyword))


def number(dataset: Dataset, keyword: str) -> float | None:
    """Return the first value of an element where it is a finite number."""
    values = numbers(dataset, keyword)
    return values[0] if values else None


def whole(dataset: Dataset, keyword: str) -> int | None:
    """Return the first value of an element where it is a whole number of at most nine digits."""
    value = number(dataset, keyword)
    return int(value) if value is not None and value == int(value) and abs(value) < 1e9 else None


def numbers(dataset: Dataset, keyword: str) -> tuple[float, ...]:
    """Return the values of an element where all are finite numbers, else none."""
    try:
        found = tuple(float(each) for each in _values(dataset, keyword))
    except (TypeError, ValueError, OverflowError):
        return ()
    return found if all(math.isfinite(each) for each in found) else ()


def _values(dataset: Dataset, keyword: str) -> list[str | int | float]:
    """Return the plain values of an element, none where it is missing or cannot be decoded."""
    try:
        value: Any = dataset.get(keyword)
    except (TypeError, ValueError, OverflowError, LookupError):
        return []
    many = value if isinstance(value, Sequence) and not isinstance(value, (str, bytes)) else [value]
    return [each for each in many[:MOST] if isinstance(each, (str, int, float)) and each != ""]
