"""What one console holds: its consortium, who may enter, who is in, and what it has looked up a moment ago."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from server import facts
from server.console.accounts import Account, load_accounts
from server.console.actions import Actions
from server.console.fleet import FleetAside
from server.console.login_limits import LoginLimits
from server.console.sessions import Sessions
from server.consortium.folder import Consortium

KEEP_S = 1.0
"""How long a look at the folder is good for, so that ten open pages are not ten looks."""
T = TypeVar("T")


@dataclass(frozen=True)
class Links:
    """Where plots are shown, as a browser reaches them; None where nowhere."""

    mlflow: str | None = None
    grafana: str | None = None


def accounts_file(consortium: Consortium) -> Path:
    """Return where the accounts of a consortium's console lie."""
    return consortium.folder / "console" / "accounts.json"


def actions_file(consortium: Consortium) -> Path:
    """Return where it is written what operators did."""
    return consortium.folder / "console" / "actions.jsonl"


@dataclass
class Desk:
    """One console.

    Attributes:
        secure: whether it is served over TLS.
        secret: of this process, for the forms of people who are not logged in yet.
    """

    consortium: Consortium
    secure: bool = False
    links: Links = field(default_factory=Links)
    fleet: facts.Fleet = facts.unknown_fleet
    clock: Callable[[], float] = time.monotonic
    secret: bytes = field(default_factory=lambda: secrets.token_bytes(32))

    def __post_init__(self) -> None:
        self.sessions, self.limits = Sessions(self.clock), LoginLimits(self.clock)
        self.actions = Actions(actions_file(self.consortium))
        self._aside = FleetAside(self.fleet)
        self._locks = {what: threading.Lock() for what in ("sites", "runs", "releases")}
        self._seen: dict[str, tuple[float, Any]] = {}

    def account(self, name: str) -> Account | None:
        """Return the account of that name as the file has it now: who is removed is out at once."""
        return load_accounts(accounts_file(self.consortium)).get(name)

    def sites(self) -> tuple[facts.SiteFacts, ...]:
        """Return the sites, those first about which somebody should do something."""
        found = self._kept("sites", lambda: facts.sites(self.consortium, self._aside))
        order = list(facts.Health)
        gone = facts.Health.REVOKED
        return tuple(sorted(found, key=lambda site: (site.health is gone, order.index(site.health), site.name)))

    def runs(self) -> tuple[facts.RunFacts, ...]:
        """Return the runs, those that go on first."""
        return self._kept("runs", lambda: facts.runs(self.consortium))

    def run(self, name: str) -> facts.RunFacts | None:
        """Return the run of that name, None where there is none: a name is looked up, never made a path."""
        return next((run for run in self.runs() if run.name == name), None)

    def releases(self) -> tuple[facts.ReleaseFacts, ...]:
        """Return the releases, the last one first."""
        return self._kept("releases", lambda: facts.releases(self.consortium))

    def forget(self) -> None:
        """Look again at the next page: something was changed from here."""
        self._seen.clear()

    def _kept(self, what: str, look: Callable[[], T]) -> T:
        with self._locks[what]:  # two looks at the same are one
            at, value = self._seen.get(what, (float("-inf"), None))
            if time.monotonic() - at >= KEEP_S:
                value = look()
                self._seen[what] = (time.monotonic(), value)
            found: T = value
            return found
