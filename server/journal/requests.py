"""What people ask of a run from outside, and who was withdrawn from it; written by one process, read by another."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

from common.settings.stages import Stage
from server.journal.database import Database

RoundName = tuple[Stage, int]


class Request(StrEnum):
    """What a run can be asked."""

    PAUSE = "pause"
    RESUME = "resume"
    STOP = "stop"


@dataclass(frozen=True)
class Asked:
    """What the requests so far come to; `acted` says whether the run has done what the last of them asks."""

    paused: bool
    stopped: bool
    acted: bool


@dataclass(frozen=True)
class Withdrawal:
    """A site, or some patients of a site, withdrawn from a run.

    Attributes:
        patients: how many patients; None means the whole site.
        rounds: the rounds that they may have had a part in, in order; None where they follow from the records: all to
            which the site contributed.
    """

    site: str
    patients: int | None
    rounds: tuple[RoundName, ...] | None
    at: str


class Requests:
    """The tables `requests` and `withdrawals`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, kind: Request) -> None:
        """Ask the run something; it acts at its next safe point."""
        with self._database.writing() as connection:
            connection.execute("INSERT INTO requests (kind, at) VALUES (?, ?)", (kind.value, now()))

    def asked(self) -> Asked:
        """Return what is asked of the run now. A stop is for good."""
        rows = self._database.rows("SELECT kind, acted_at FROM requests ORDER BY id")
        stopped = any(kind == Request.STOP for kind, _ in rows)
        paused = bool(rows) and rows[-1][0] == Request.PAUSE
        return Asked(paused, stopped, all(acted is not None for _, acted in rows))

    def acted(self) -> None:
        """Note that the run has done what all requests so far ask."""
        with self._database.writing() as connection:
            connection.execute("UPDATE requests SET acted_at = ? WHERE acted_at IS NULL", (now(),))

    def withdraw_site(self, site: str) -> None:
        """Withdraw a site: no later round counts with it."""
        if site not in self.withdrawn_sites():
            self._add_withdrawal(site, None, None)

    def withdraw_patients(self, site: str, patients: int, rounds: Iterable[RoundName]) -> bool:
        """Note that so many patients of a site are withdrawn by now, from `rounds` at most; return if that is news."""
        known = sum(entry.patients or 0 for entry in self.withdrawals() if entry.site == site)
        if patients > known:
            self._add_withdrawal(site, patients - known, tuple(rounds))
        return patients > known

    def withdrawals(self) -> list[Withdrawal]:
        """Return all withdrawals, in order."""
        rows = self._database.rows("SELECT site, patients, rounds, at FROM withdrawals ORDER BY id")
        return [Withdrawal(site, patients, _rounds(rounds), at) for site, patients, rounds, at in rows]

    def withdrawn_sites(self) -> frozenset[str]:
        """Return the sites that are withdrawn as a whole."""
        return frozenset(entry.site for entry in self.withdrawals() if entry.patients is None)

    def _add_withdrawal(self, site: str, patients: int | None, rounds: tuple[RoundName, ...] | None) -> None:
        text = None if rounds is None else json.dumps([[stage.value, number] for stage, number in rounds])
        with self._database.writing() as connection:
            connection.execute(
                "INSERT INTO withdrawals (site, patients, rounds, at) VALUES (?, ?, ?, ?)",
                (site, patients, text, now()),
            )


def now() -> str:
    """Return the time as the journal writes it, UTC."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def _rounds(text: str | None) -> tuple[RoundName, ...] | None:
    return None if text is None else tuple((Stage(stage), number) for stage, number in json.loads(text))
