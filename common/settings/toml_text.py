"""TOML that somebody else wrote, read so that nothing in it can end a program otherwise than by our own error."""

from __future__ import annotations

import json
import tomllib
from typing import Any

from common.errors import StudyError

MAX_BYTES = 1024 * 1024


def read_toml(text: str, origin: str, limit: int = MAX_BYTES) -> dict[str, Any]:
    """Return a settings file as plain JSON values, dates and times as text; a model says later what is wrong in it.

    Args:
        text: the TOML.
        origin: the file, as the reader knows it.
        limit: bytes that such a file may have.
    Raises:
        StudyError: where it is too large, no text, no TOML, nested beyond reason, or holds a number without end.
    """
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        raise StudyError(f"{origin}: not valid TOML: not UTF-8 text; save it as UTF-8") from None
    if size > limit:
        raise StudyError(f"{origin}: larger than {limit // 1024} KiB; settings are a page of text")
    try:
        # To JSON and back here, for a key of a thousand dots or a long hexadecimal number is only then found out.
        tree: dict[str, Any] = json.loads(json.dumps(tomllib.loads(text), default=str))
    except RecursionError:
        raise StudyError(f"{origin}: not valid TOML: nested too deeply; write tables of a few levels") from None
    except ValueError as error:  # TOMLDecodeError, and what int() says of thousands of digits
        raise StudyError(f"{origin}: not valid TOML: {error}") from None
    return tree
