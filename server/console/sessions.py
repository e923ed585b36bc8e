"""Who is logged in: sessions on the server, found by the hash of a random token that only the browser holds.

They live in memory: a console that is started again asks everybody to log in again.
"""

from __future__ import annotations

import hashlib
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from server.console.accounts import Account

IDLE_S, ABSOLUTE_S = 60 * 60.0, 12 * 60 * 60.0
"""A session ends so long after the person last did something, and so long after they logged in."""
MOST = 1000


@dataclass
class Session:
    """One logged-in browser.

    Attributes:
        name: of the account.
        password_hash: as it was when they logged in; a new password ends the session.
        csrf: what every form of this session carries.
        began, used: seconds of the clock.
    """

    name: str
    password_hash: str
    began: float
    used: float
    csrf: str = field(default_factory=lambda: secrets.token_urlsafe(32))


class Sessions:
    """All sessions, by the SHA-256 of their token."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._lock = clock, threading.Lock()
        self._held: dict[str, Session] = {}

    def begin(self, account: Account) -> str:
        """Begin a session and return its token, always a new one; the least used one ends where there are too many."""
        token, now = secrets.token_urlsafe(32), self._clock()
        with self._lock:
            self._forget_ended(now)
            if len(self._held) >= MOST:
                del self._held[min(self._held, key=lambda key: self._held[key].used)]
            self._held[_key(token)] = Session(account.name, account.password_hash, began=now, used=now)
        return token

    def find(self, token: str | None, by_hand: bool) -> Session | None:
        """Return the session of a token, None where there is none or it has ended.

        Args:
            by_hand: whether a person asks; a page that refreshes itself does not keep a session alive.
        """
        if not token:
            return None
        with self._lock:
            session, now = self._held.get(_key(token)), self._clock()
            if session is None or _has_ended(session, now):
                self._held.pop(_key(token), None)
                return None
            if by_hand:
                session.used = now
            return session

    def end(self, token: str) -> None:
        """End the session of a token."""
        with self._lock:
            self._held.pop(_key(token), None)

    def _forget_ended(self, now: float) -> None:
        for key in [key for key, session in self._held.items() if _has_ended(session, now)]:
            del self._held[key]


def _has_ended(session: Session, now: float) -> bool:
    return now - session.used >= IDLE_S or now - session.began >= ABSOLUTE_S


def _key(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "replace")).hexdigest()
