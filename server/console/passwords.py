"""Passwords: argon2id, and an answer that takes as long for a name that does not exist."""

from __future__ import annotations

import threading
import unicodedata
from functools import cache

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from common.errors import StudyError

LEAST, MOST = 12, 256
"""Characters of a password. Length is what counts; no rule about which characters drives people to better ones."""

_HASHER = PasswordHasher()
_AT_ONCE = threading.BoundedSemaphore(2)  # a hash takes 64 MiB: many at a time would take the machine's memory


def hash_password(password: str, name: str) -> str:
    """Return the argon2id hash of a new password. Raises StudyError where it is too short, too long, or the name."""
    if not LEAST <= len(password) <= MOST:
        raise StudyError(f"a password has {LEAST} to {MOST} characters; several words are easy to keep in mind")
    if name in password.lower() and len(password) < LEAST + len(name):
        raise StudyError("the password is little more than the account's name; choose another")
    with _AT_ONCE:
        return _HASHER.hash(_plain(password))


def is_right(password: str, password_hash: str | None) -> bool:
    """Return whether the password is the one that was hashed; with None it takes as long, and is not."""
    known = password_hash if password_hash is not None else _nobodys()
    with _AT_ONCE:
        try:
            matches = _HASHER.verify(known, _plain(password[: MOST + 1]))
        except (VerificationError, InvalidHashError):
            return False
    return matches and password_hash is not None


@cache
def _nobodys() -> str:
    """Return the hash of a password that nobody has, made with the same costs."""
    return _HASHER.hash("nobody has this password")


def _plain(password: str) -> bytes:
    """Return the bytes of a password, the same from every keyboard; a lone surrogate is no character of one."""
    return unicodedata.normalize("NFKC", password).encode("utf-8", "replace")
