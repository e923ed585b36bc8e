"""Foreign text for a terminal: the name of a file, or what a server says, may try to steer it."""

from __future__ import annotations


def printable(text: str) -> str:
    """Return `text` with an escape, such as `\\x1b`, for what a terminal would obey; lines and tabs stay."""
    return "".join(each if each.isprintable() or each in "\n\t" else _escaped(each) for each in text)


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")
