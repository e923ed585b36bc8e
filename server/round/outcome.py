"""What came in during a round."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from common.records import OK
from server.aggregation.weighted import SpooledUpdate
from server.result import WITHDRAWN, SiteFault


@dataclass
class Outcome:
    """What came in during a round.

    Attributes:
        updates: accepted, and in the journal.
        sites: site → its entry in the round's record.
        faults: sites that were asked and gave no update that counts.
        sat_out: sites that have nothing to learn the stage from.
        exhausted: sites that have no privacy left to spend on it.
    """

    updates: list[SpooledUpdate] = field(default_factory=list)
    sites: dict[str, dict[str, Any]] = field(default_factory=dict)
    faults: list[SiteFault] = field(default_factory=list)
    sat_out: set[str] = field(default_factory=set)
    exhausted: set[str] = field(default_factory=set)

    @property
    def contributed(self) -> set[str]:
        """The sites whose training is in the updates, singly or summed."""
        return {site for site, entry in self.sites.items() if entry["code"] == OK}

    def without(self, withdrawn: frozenset[str]) -> Outcome:
        """Return what came in from sites that were not withdrawn meanwhile."""
        sites = {site: _went(entry) if site in withdrawn else entry for site, entry in self.sites.items()}
        updates = [update for update in self.updates if update.site not in withdrawn]
        return Outcome(updates, sites, self.faults, self.sat_out, self.exhausted)


def _went(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Return the entry of a site that was withdrawn after it had answered."""
    return {"code": WITHDRAWN} | {key: entry[key] for key in ("bytes_down", "bytes_up", "seconds") if key in entry}
