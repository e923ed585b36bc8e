"""How often somebody may try to log in: a delay that grows with every failure, by account and by address."""

from __future__ import annotations

import ipaddress
import math
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

FREE = 3
"""Failures without a delay. Each one more doubles it, from a second."""
MOST_FOR_ACCOUNT_S, MOST_FOR_ADDRESS_S = 60.0, 900.0
"""The account's stays short: it also keeps out the person whose name somebody else is trying."""
TUNNELLED = ("127.0.0.1", "::1")
"""Addresses of everybody who comes through a tunnel: one person's failures must not keep all out for long."""
FORGET_S = 60 * 60.0
KEPT = 10_000


@dataclass
class _Tries:
    failures: int
    last: float


class LoginLimits:
    """Failures of late. Every attempt counts as failed until it succeeded, so that many at once count too."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._lock = clock, threading.Lock()
        self._tries: OrderedDict[tuple[str, str], _Tries] = OrderedDict()

    def begin(self, name: str, address: str) -> int:
        """Count an attempt; return 0, or the seconds to wait where it comes too early and was not counted."""
        places = _places(name, address)
        with self._lock:
            now = self._clock()
            wait = max(self._wait(place, most, now) for place, most in places.items())
            if wait > 0:
                return math.ceil(wait)
            for place in places:
                self._count(place, now)
            return 0

    def succeeded(self, name: str, address: str) -> None:
        """Forget the account's failures, and this one attempt of the address.

        Not the address's others: an account of one's own must not buy tries at somebody else's.
        """
        account, here = _places(name, address)
        with self._lock:
            self._tries.pop(account, None)
            if here in self._tries:
                self._tries[here].failures -= 1

    def _wait(self, place: tuple[str, str], most: float, now: float) -> float:
        tries = self._tries.get(place)
        if tries is None or now - tries.last >= FORGET_S or tries.failures < FREE:
            return 0.0
        delay = min(most, 2.0 ** min(tries.failures - FREE, 30))
        return tries.last + delay - now

    def _count(self, place: tuple[str, str], now: float) -> None:
        tries = self._tries.pop(place, None)
        before = tries.failures if tries is not None and now - tries.last < FORGET_S else 0
        self._tries[place] = _Tries(before + 1, now)
        while len(self._tries) > KEPT:
            self._tries.popitem(last=False)


def _places(name: str, address: str) -> dict[tuple[str, str], float]:
    """Return what is counted, with its longest delay: the account, then the address."""
    most = MOST_FOR_ACCOUNT_S if address in TUNNELLED else MOST_FOR_ADDRESS_S
    return {("account", name[:64]): MOST_FOR_ACCOUNT_S, ("address", _network(address)): most}


def _network(address: str) -> str:
    """Return an IPv4 address as it is, and of an IPv6 address the network, of which one person has all."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address[:64]
    return str(parsed if parsed.version == 4 else ipaddress.ip_network((parsed, 64), strict=False))
