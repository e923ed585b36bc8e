"""Values of DICOM elements as bounded text and finite numbers; one that is not there or not readable is empty or None.

A value that fits its meaning badly (letters where a number belongs) counts as missing: recognition then has less to go
by, and says so.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any, Protocol

LONGEST = 256
"""Characters of a text that are looked at."""

MOST = 32
"""Values of one element that are looked at."""

UID = re.compile(r"[0-9]+(\.[0-9]+)+")


class Tags(Protocol):
    """Elements by keyword: a pydicom dataset, or a dictionary."""

    def get(self, keyword: str, /) -> Any:
        """Return an element's value, None where it is missing."""


def uid(dataset: Tags, keyword: str) -> str:
    """Return a well-formed UID of at most 64 characters, or nothing."""
    found = text(dataset, keyword)
    return found if len(found) <= 64 and UID.fullmatch(found) else ""


def text(dataset: Tags, keyword: str) -> str:
    """Return an element as one line, several values parted by backslashes."""
    line = "\\".join(str(each) for each in _values(dataset, keyword))
    return "".join(letter if letter.isprintable() else " " for letter in line[:LONGEST]).strip()


def words(dataset: Tags, keyword: str) -> tuple[str, ...]:
    """Return the values of an element in upper case."""
    return tuple(str(each).strip().upper()[:LONGEST] for each in _values(dataset, keyword))


def number(dataset: Tags, keyword: str) -> float | None:
    """Return the first value of an element where it is a finite number."""
    values = numbers(dataset, keyword)
    return values[0] if values else None


def whole(dataset: Tags, keyword: str) -> int | None:
    """Return the first value of an element where it is a whole number of at most nine digits."""
    found = number(dataset, keyword)
    return int(found) if found is not None and found == int(found) and abs(found) < 1e9 else None


def numbers(dataset: Tags, keyword: str) -> tuple[float, ...]:
    """Return the values of an element where all are finite numbers, else none."""
    try:
        found = tuple(float(each) for each in _values(dataset, keyword))
    except (TypeError, ValueError, OverflowError):
        return ()
    return found if all(math.isfinite(each) for each in found) else ()


def items(dataset: Tags, keyword: str) -> list[Tags]:
    """Return the items of a sequence, none where it is missing, no sequence or cannot be decoded."""
    found = value(dataset, keyword)
    plain = isinstance(found, (str, bytes)) or not isinstance(found, Sequence)
    return [] if plain else [item for item in found if hasattr(item, "get")]


def value(dataset: Tags, keyword: str) -> Any:
    """Return an element as it was decoded, None where it is missing or cannot be."""
    try:
        return dataset.get(keyword)
    except (TypeError, ValueError, OverflowError, LookupError):
        return None


def _values(dataset: Tags, keyword: str) -> list[str | int | float]:
    """Return the plain values of an element, none where it is missing or cannot be decoded."""
    found = value(dataset, keyword)
    many = found if isinstance(found, Sequence) and not isinstance(found, (str, bytes)) else [found]
    return [each for each in many[:MOST] if isinstance(each, (str, int, float)) and each != ""]
