"""A run that is being driven."""

from __future__ import annotations

from dataclasses import dataclass, field

from common import roster_file
from common.study import Study
from server.events import Listener
from server.exchange import Exchange
from server.holdings import Holdings
from server.journal import Journal
from server.result import SiteFault


@dataclass
class Underway:
    """What drives a run, and what it has learnt of its sites on the way.

    Attributes:
        admitted: the roster.
        faults: of all sites so far.
        holdings: what each site need not be sent again.
        missed: sites that were not there at the roll call; the first round after it does not wait for them.
    """

    exchange: Exchange
    journal: Journal
    on_event: Listener
    admitted: roster_file.Roster
    faults: list[SiteFault] = field(default_factory=list)
    holdings: Holdings = field(default_factory=Holdings)
    missed: frozenset[str] = frozenset()

    @property
    def study(self) -> Study:
        """The study."""
        return self.journal.study
