"""The rounds of one stage, from the last one that counts."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from common.parameters import StateDict
from common.plan import Plan
from common.records import OUTSIDE_HOURS
from server.aggregation.global_state import Aggregator, GlobalState
from server.alarms import alarms
from server.events import AlarmRaised, RoundFinished, RoundStarted, StageFinished, StageStarted
from server.exchange import BUSY, LATE, UNREACHABLE
from server.journal import Checkpoint
from server.result import INCOMPLETE, SiteFault
from server.roster import Roster
from server.round.one_round import OneRound
from server.round.outcome import Outcome
from server.round.quorum import RunOverError, lacking, require, unapproved
from server.round.record import exhausted, record_of
from server.round.underway import Underway
from server.secure.round import SecureRound, SecureSumError
from server.secure.transcript import forget_transcripts
from server.stages import StageModel

ABSENT = frozenset({BUSY, LATE, UNREACHABLE, OUTSIDE_HOURS})
"""Codes of sites that the next round does not wait for, once others suffice."""


@dataclass(frozen=True)
class StageRounds:
    """The rounds of a stage, over the sites of the plan."""

    run: Underway
    model: StageModel
    plan: Plan
    roster: Roster

    def play(self) -> None:
        """Play the rounds that do not count yet. Raises RunOverError where one of them does not count either."""
        run, stage, settings = self.run, self.model.stage, self.model.settings
        last = run.journal.last(stage) or Checkpoint(0, GlobalState.first(self.model.initial), {"sat_out": []})
        run.faults += run.journal.faults(stage)
        run.on_event(StageStarted(stage, settings.rounds, last.round))
        for number in range(last.round + 1, settings.rounds + 1):
            run.exchange.safe_point()
            last = self._play(number, last)
            run.on_event(RoundFinished(stage, number, settings.rounds, last.record))
        run.on_event(StageFinished(stage, settings.rounds, run.journal.weights(stage)))

    def _play(self, number: int, last: Checkpoint) -> Checkpoint:
        """Play one round from the state that `last` left, and make it count."""
        stage, began, journal = self.model.stage, time.monotonic(), self.run.journal
        past, aggregator = journal.records(stage), self._aggregator()
        one = self._open(number, last.record)
        outcome = self._outcome(one, last.state.tensors, past)
        self.run.faults += outcome.faults
        sat_out = self._require(number, outcome, past, set(last.record["sat_out"]))
        state = aggregator.advance(last.state, outcome.updates)
        raised = alarms(outcome.sites, past)
        for alarm in raised:
            self.run.on_event(AlarmRaised(stage, number, alarm))
        record = record_of(one, outcome, sat_out) | {
            "alarms": [asdict(alarm) for alarm in raised],
            "too_few_sites": aggregator.refused(outcome.updates),
            "seconds": round(time.monotonic() - began, 3),
        }
        counted = Checkpoint(number, state, journal.commit(stage, number, state, record))
        forget_transcripts(journal.out)
        return counted

    def _require(self, number: int, outcome: Outcome, past: list[dict[str, Any]], sat_out: set[str]) -> set[str]:
        """Return the sites that the next round leaves out. Raises RunOverError where this one does not count."""
        spent = exhausted(past) | outcome.exhausted
        sat_out = sat_out | outcome.sat_out | spent
        if not self.model.optional:
            answered = outcome.contributed | (sat_out - spent)
            where = f"{self.model.stage} round {number}"
            require(self.run.study.federation, where, outcome.contributed, answered, spent, outcome.faults)
        return sat_out

    def _outcome(self, one: OneRound, tensors: StateDict, past: list[dict[str, Any]]) -> Outcome:
        """Play a round, singly or as a secure sum; a sum that cannot be opened ends the run, unless it is optional.

        A site that is withdrawn once its part is in a sum stays in that sum: nobody can take it out.
        """
        run = self.run
        if not run.study.secure_aggregation.enabled:
            return one.play(tensors, past, run.on_event).without(run.journal.requests.withdrawn_sites())
        pinned = {site: entry.signing_key for site, entry in run.admitted.sites.items()}
        try:
            return SecureRound(one, tensors, pinned).play(run.on_event)
        except SecureSumError as error:
            left = [SiteFault(site, code, one.model.stage, one.number) for site, code in error.left.items()]
            run.faults += left
            if one.model.optional:
                return Outcome()
            raise RunOverError(INCOMPLETE, f"{error}{unapproved(left)}") from None

    def _open(self, number: int, before: Mapping[str, Any]) -> OneRound:
        """Choose whom a round asks: the members that have something to learn and were not withdrawn."""
        run, model = self.run, self.model
        sat_out, withdrawn = set(before["sat_out"]), run.journal.requests.withdrawn_sites()
        spent = exhausted(run.journal.records(model.stage))
        asked = {site: each.node for site, each in self.roster.members.items() if site not in sat_out | withdrawn}
        run.on_event(RoundStarted(model.stage, number, model.settings.rounds, tuple(asked)))
        absent = run.missed | {site for site, entry in before.get("sites", {}).items() if entry["code"] in ABSENT}
        run.missed = frozenset()

        def still_lacking(contributed: set[str], newly_out: set[str]) -> str | None:
            answered = contributed | (sat_out - spent) | newly_out
            return None if model.optional else lacking(run.study.federation, answered)

        return OneRound(run.exchange, run.journal, model, self.plan, number, asked, absent, still_lacking, run.holdings)

    def _aggregator(self) -> Aggregator:
        """Return how the stage's updates are put together."""
        study, settings = self.run.study, self.model.settings
        return Aggregator(
            study.aggregation,
            study.federation.weight_cap_patients,
            settings.ema_decay,
            settings.local_steps,
            self.model.parameters,
            self.model.grouping,
        )
