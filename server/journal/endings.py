"""What a run comes to: its release, its result, and what those who went had touched."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from server.journal import copies
from server.journal.counted_rounds import CountedRounds
from server.journal.requests import now
from server.result import RunResult


class Endings(CountedRounds):
    """The tables `releases` and `result`, and what the table of withdrawals means for the rounds that count."""

    def release(self, digest: str) -> None:
        """Write down that a release stands."""
        with self._database.writing() as connection:
            connection.execute("INSERT OR IGNORE INTO releases VALUES (?, ?)", (digest, now()))

    def releases(self) -> list[str]:
        """Return the digests of the run's releases."""
        return [digest for (digest,) in self._database.rows("SELECT digest FROM releases ORDER BY at, digest")]

    def finish(self, result: RunResult) -> None:
        """Write down how the run ended."""
        tree = asdict(result) | {"out": ".", "release": "release" if result.release else None}
        text = copies.pretty(tree)
        with self._database.writing() as connection:
            connection.execute("INSERT OR REPLACE INTO result VALUES (1, ?)", (text,))
        copies.write_copy(self.out / copies.RESULT, text)
        self.copy_withdrawals()

    def ended(self) -> dict[str, Any] | None:
        """Return what `run.json` says, None before the end."""
        rows = self._database.rows("SELECT result FROM result")
        return json.loads(rows[0][0]) if rows else None

    def withdrawn(self) -> list[dict[str, Any]]:
        """Return who was withdrawn, and which rounds and releases they touched."""
        return [
            {
                "site": entry.site,
                "patients": entry.patients,
                "at": entry.at,
                "rounds": [[stage.value, number] for stage, number in rounds],
                "releases": self.releases() if rounds else [],
            }
            for entry in self.requests.withdrawals()
            for rounds in [self.rounds_of(entry.site) if entry.rounds is None else entry.rounds]
        ]

    def note_withdrawn(self, site: str, patients: int) -> None:
        """Write down that so many patients of a site are withdrawn by now, from the rounds that it contributed to."""
        if self.requests.withdraw_patients(site, patients, self.rounds_of(site)):
            self.copy_withdrawals()

    def copy_withdrawals(self) -> None:
        """Write `withdrawn.json`, where anybody was."""
        entries = self.withdrawn()
        if entries:
            copies.write_copy(self.out / copies.WITHDRAWN, copies.pretty(entries))
