"""The loop: inventory, then stage after stage, round after round, then the release; from the last round that counts."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from flwr.serverapp import Grid

from common.assessment.dossier import Dossier
from common.nets.stage_models import build_model
from common.parameters import StateDict
from common.plan import Plan
from common.study import Study
from server.aggregation.global_state import Aggregator, GlobalState
from server.alarms import alarms
from server.assessment import assess_release
from server.events import (
    AlarmRaised,
    Listener,
    RoundFinished,
    RoundStarted,
    RunFinished,
    RunPlanned,
    StageFinished,
    StageStarted,
    ignore,
)
from server.exchange import Exchange
from server.first_weights import read_first_weights
from server.journal import Checkpoint, Journal
from server.one_round import OneRound, Outcome
from server.registry import write_release
from server.result import COMPLETE, FAILED, INCOMPLETE, RunResult, SiteFault
from server.roster import Roster, call_roll
from server.stages import ModelBuilder, StageModel, open_stage


class _RunOverError(Exception):
    """A round does not count, so the run ends with what stands."""

    def __init__(self, status: str, reason: str) -> None:
        super().__init__(reason)
        self.status = status


def run_study(
    grid: Grid,
    study: Study,
    out: Path,
    resume: bool = False,
    on_event: Listener = ignore,
    build: ModelBuilder = build_model,
    identifier_weights: Path | None = None,
) -> RunResult:
    """Drive a study over a grid to its end, whatever it is, and write it down.

    Args:
        grid: Flower's; the sites' ClientApps are at its other end.
        study: what to run; its sites are the consortium.
        out: the run's folder.
        resume: go on after the last round that counts, in a folder that holds a run.
        on_event: hears what happens; where it raises the run stops, and can be resumed.
        build: where the networks come from.
        identifier_weights: file of the identifier's first weights, where the study names one.
    Returns:
        How it ended; `require_complete()` raises FederationError unless complete.
    Raises:
        StudyError: where `out` holds another run, or weights are named and not given.
        ReleaseError: where a checkpoint is damaged, or weights are not those that the study names.
    """
    first_weights = read_first_weights(study, identifier_weights)
    return _Run(Exchange(grid), Journal.open(out, study, resume), on_event, build, first_weights).play()


class _Run:
    """One run of a study, and the sites that failed in it."""

    def __init__(
        self,
        exchange: Exchange,
        journal: Journal,
        on_event: Listener,
        build: ModelBuilder,
        first_weights: StateDict | None,
    ) -> None:
        self.exchange, self.journal, self.on_event, self.build = exchange, journal, on_event, build
        self.first_weights = first_weights
        self.study = journal.study
        self.faults: list[SiteFault] = []

    def play(self) -> RunResult:
        """Play every stage and release, or end early."""
        try:
            roster, plan = self._plan()
            for stage in self.study.stages.present:
                model = open_stage(stage, self.study, plan, self.build, self.first_weights)
                self._play_stage(model, plan, roster)
            release = write_release(self.journal, self._assess(plan, roster))
            result = self._result(COMPLETE, None, release.path, release.digest)
        except _RunOverError as over:
            result = self._result(over.status, str(over), None, None)
        self.journal.finish(result)
        self.on_event(RunFinished(result))
        return result

    def _assess(self, plan: Plan, roster: Roster) -> Dossier | None:
        """Let the sites judge the averaged models, where the study asks; end the run where that forbids a release."""
        dossier = assess_release(self.exchange, self.journal, plan, roster, self.on_event)
        if dossier is not None and dossier.refusal is not None:
            raise _RunOverError(INCOMPLETE, f"the release is refused: {dossier.refusal}")
        return dossier

    def _result(self, status: str, reason: str | None, release: Path | None, digest: str | None) -> RunResult:
        return RunResult(status, self.journal.run, self.journal.out, release, digest, reason, tuple(self.faults))

    def _plan(self) -> tuple[Roster, Plan]:
        """Call the roll and freeze the plan, or find the frozen one; a site that is not in it stays out."""
        roster = call_roll(self.exchange, self.study)
        self.faults += roster.faults
        self._require("the inventory", set(roster.members), set(roster.members))
        if not self.journal.planned:
            members = roster.members.values()
            plan = Plan(study_digest=self.study.digest, inventory=tuple(member.inventory for member in members))
            self.journal.freeze(plan, {member.site: member.greys for member in members})
        plan = self.journal.plan()
        known = {entry.site for entry in plan.inventory}
        self.faults += [SiteFault(site, "not-in-plan") for site in roster.members if site not in known]
        self.on_event(RunPlanned(self.journal.run, plan, tuple(self.faults)))
        return Roster({site: roster.members[site] for site in roster.members if site in known}, roster.faults), plan

    def _require(self, where: str, contributed: set[str], answered: set[str]) -> None:
        """End the run where a required site is missing, or fewer sites than the quorum answered well.

        A site that has nothing to learn a stage from, and says so, answered well; but somebody must contribute.
        """
        federation = self.study.federation
        status = INCOMPLETE if answered else FAILED
        missing = sorted(set(federation.required) - answered)
        if missing:
            raise _RunOverError(status, f"{where} lacks {', '.join(missing)}, which the study requires")
        if len(answered) < federation.quorum:
            raise _RunOverError(status, f"{where} reached {len(answered)} sites of a quorum of {federation.quorum}")
        if not contributed:
            raise _RunOverError(FAILED, f"{where}: no site has anything to learn from; leave the stage out")

    def _play_stage(self, model: StageModel, plan: Plan, roster: Roster) -> None:
        """Play the rounds of a stage that do not count yet."""
        stage, settings = model.stage, model.settings
        last = self.journal.last(stage) or Checkpoint(0, GlobalState.first(model.initial), {"sat_out": []})
        state, sat_out = last.state, set(last.record["sat_out"])
        aggregator, past = self._aggregator(model), self.journal.records(stage)
        self.faults += self.journal.faults(stage)
        self.on_event(StageStarted(stage, settings.rounds, last.round))
        for number in range(last.round + 1, settings.rounds + 1):
            began = time.monotonic()
            asked = {site: member.node for site, member in roster.members.items() if site not in sat_out}
            self.on_event(RoundStarted(stage, number, settings.rounds, tuple(asked)))
            one = OneRound(self.exchange, self.journal, model, plan, roster, number, asked)
            outcome = one.play(state.tensors, past, self.on_event)
            self.faults += outcome.faults
            sat_out |= outcome.sat_out
            contributed = {update.site for update in outcome.updates}
            if not model.optional:
                self._require(f"{stage} round {number}", contributed, contributed | sat_out)
            state = aggregator.advance(state, outcome.updates)
            raised = alarms(outcome.sites, past)
            for alarm in raised:
                self.on_event(AlarmRaised(stage, number, alarm))
            record = self._record(one, outcome, sat_out) | {
                "alarms": [asdict(alarm) for alarm in raised],
                "too_few_sites": aggregator.refused(outcome.updates),
                "seconds": round(time.monotonic() - began, 3),
            }
            record = self.journal.commit(stage, number, state, record)
            past.append(record)
            self.on_event(RoundFinished(stage, number, settings.rounds, record))
        self.on_event(StageFinished(stage, settings.rounds, self.journal.weights(stage)))

    def _aggregator(self, model: StageModel) -> Aggregator:
        """Return how the stage's updates are put together."""
        cap, settings = self.study.federation.weight_cap_patients, model.settings
        return Aggregator(
            self.study.aggregation, cap, settings.ema_decay, settings.local_steps, model.parameters, model.grouping
        )

    def _record(self, one: OneRound, outcome: Outcome, sat_out: set[str]) -> dict[str, Any]:
        """Return what a round leaves behind beside its tensors."""
        return {
            "schema_version": 1,
            "run": self.journal.run,
            "stage": one.model.stage.value,
            "round": one.number,
            "rounds": one.model.settings.rounds,
            "steps": one.model.settings.local_steps,
            "sites": {site: outcome.sites[site] for site in sorted(outcome.sites)},
            "metrics": mean_metrics(outcome.sites),
            "sat_out": sorted(sat_out),
        }


def mean_metrics(sites: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    """Return each metric's mean over the sites that sent it, weighted by the patients that it trained on."""
    sums: dict[str, list[tuple[int, float]]] = {}
    for site in sorted(sites):
        for name, value in sites[site].get("metrics", {}).items():
            sums.setdefault(name, []).append((max(sites[site]["patients"].values()), value))
    return {
        name: sum(weight * value for weight, value in parts) / sum(weight for weight, _ in parts)
        for name, parts in sorted(sums.items())
    }
