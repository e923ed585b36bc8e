"""The loop: inventory, then stage after stage, round after round, then the release; from the last round that counts."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from flwr.serverapp import Grid

from common import roster_file
from common.assessment.dossier import Dossier
from common.nets.stage_models import build_model
from common.parameters import StateDict
from common.plan import Plan
from common.records import BUDGET_EXHAUSTED, NOT_APPROVED, OUTSIDE_HOURS
from common.settings.stages import Stage
from common.study import Study
from server.aggregation.global_state import Aggregator, GlobalState
from server.alarms import alarms
from server.approval.written_plans import offered_plan
from server.assessment import assess_release
from server.contract import contract_of
from server.control import Control, StopRequestedError
from server.ending import finished_result, stop_sites
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
from server.exchange import BUSY, LATE, UNREACHABLE, Exchange
from server.first_weights import read_first_weights
from server.holdings import Holdings
from server.journal import Checkpoint, Journal
from server.one_round import OneRound, Outcome
from server.registry import write_release
from server.result import COMPLETE, FAILED, INCOMPLETE, STOPPED, WITHDRAWN, RunResult, SiteFault
from server.roster import Roster, admitted_nodes, call_roll
from server.secure.round import SecureRound, SecureSumError
from server.secure.transcript import forget_transcripts
from server.stages import ModelBuilder, StageModel, open_stage

ABSENT = frozenset({BUSY, LATE, UNREACHABLE, OUTSIDE_HOURS})
"""Codes of sites that the next round does not wait for, once others suffice."""


class _RunOverError(Exception):
    """A round does not count, so the run ends with what stands."""

    def __init__(self, status: str, reason: str) -> None:
        super().__init__(reason)
        self.status = status


def run_study(
    grid: Grid,
    study: Study,
    out: Path,
    admitted: roster_file.Roster,
    resume: bool = False,
    on_event: Listener = ignore,
    build: ModelBuilder = build_model,
    identifier_weights: Path | None = None,
    settings: Mapping[str, object] | None = None,
    run: str | None = None,
) -> RunResult:
    """Drive a study over a grid to its end, whatever it is, and write it down.

    Args:
        grid: Flower's; the sites' ClientApps are at its other end.
        study: what to run; its sites are the consortium.
        out: the run's folder.
        admitted: the roster; only the nodes of the study's sites in it are spoken to.
        resume: go on after the last round that counts, in a folder that holds a run.
        on_event: hears what happens; where it raises the run stops, and can be resumed.
        build: where the networks come from.
        identifier_weights: file of the identifier's first weights, where the study names one.
        settings: the run configuration, to be written down.
        run: identifier of a new run, drawn unless given.
    Returns:
        How it ended; `require_complete()` raises FederationError unless complete.
    Raises:
        StudyError: where `out` holds another run, the roster lacks a site, or weights are named and not given.
        ReleaseError: where a checkpoint is damaged, or weights are not those that the study names.
        GliofedError: where the disk is full; nothing is torn, the run can be resumed.
    """
    first_weights = read_first_weights(study, identifier_weights)
    nodes = admitted_nodes(study, admitted)
    with Journal.open(out, study, resume, admitted, settings, run) as journal:
        return _Run(grid, journal, nodes, on_event, build, first_weights, admitted).play()


class _Run:
    """One run of a study, and the sites that failed in it."""

    def __init__(
        self,
        grid: Grid,
        journal: Journal,
        nodes: Mapping[str, int],
        on_event: Listener,
        build: ModelBuilder,
        first_weights: StateDict | None,
        admitted: roster_file.Roster,
    ) -> None:
        self.exchange = Exchange(grid, Control(journal).safe_point, self._note_late)
        self.journal, self.nodes, self.on_event, self.build = journal, nodes, on_event, build
        self.first_weights, self.admitted = first_weights, admitted
        self.study = journal.study
        self.faults: list[SiteFault] = []
        self.holdings = Holdings()
        self.missed: frozenset[str] = frozenset()

    def play(self) -> RunResult:
        """Play every stage and release, or end early; a run that is complete already only says so again."""
        result = finished_result(self.journal)
        if result is None:
            try:
                self.exchange.safe_point()
                roster, plan = self._plan()
                for stage in self.study.stages.present:
                    model = open_stage(stage, self.study, plan, self.build, self.first_weights)
                    self._play_stage(model, plan, roster)
                dossier = self._assess(plan, roster)
                self.exchange.safe_point()
                release = write_release(self.journal, dossier)
                result = self._result(COMPLETE, None, release.path, release.digest)
            except _RunOverError as over:
                result = self._result(over.status, str(over), None, None)
            except StopRequestedError:
                stop_sites(self.exchange, self.journal, self.nodes)
                result = self._result(INCOMPLETE, STOPPED, None, None)
            self.journal.finish(result)
        self.on_event(RunFinished(result))
        return result

    def _assess(self, plan: Plan, roster: Roster) -> Dossier | None:
        """Let the sites judge the averaged models, where the study asks; end the run where that forbids a release."""
        dossier = assess_release(self.exchange, self.journal, plan, roster, self.holdings, self.on_event)
        if dossier is not None and dossier.refusal is not None:
            raise _RunOverError(INCOMPLETE, f"the release is refused: {dossier.refusal}")
        return dossier

    def _result(self, status: str, reason: str | None, release: Path | None, digest: str | None) -> RunResult:
        contract = contract_of(self.journal)
        withdrawn = [SiteFault(site, WITHDRAWN) for site in contract.withdrawn]
        faults = (*self.faults, *(fault for fault in withdrawn if fault not in self.faults))
        return RunResult(status, self.journal.run, self.journal.out, release, digest, reason, faults, contract)

    def _plan(self) -> tuple[Roster, Plan]:
        """Call the roll and freeze the plan, or find the frozen one: its sites are the members, and nobody else.

        A site that misses the roll call of a resumed run has been waited for; the first round does so no more.
        """
        withdrawn = self.journal.requests.withdrawn_sites()
        nodes = {site: node for site, node in self.nodes.items() if site not in withdrawn}
        offered = offered_plan(self.journal.out, self.study)
        roster = call_roll(self.exchange, self.study, nodes, self.journal.run, offered)
        for fault in roster.faults:
            self.journal.note_fault(fault)
        for member in roster.members.values():
            if member.withdrawn:
                self.journal.note_withdrawn(member.site, member.withdrawn)
        self.faults += roster.faults
        self.holdings = Holdings({site: member.holds for site, member in roster.members.items()})
        self._require("the inventory", set(roster.members), set(roster.members), set(), roster.faults)
        if not self.journal.planned:
            members = roster.members.values()
            plan = Plan(study_digest=self.study.digest, inventory=tuple(member.inventory for member in members))
            self.journal.freeze(plan, {member.site: member.greys for member in members})
        plan = self.journal.plan()
        known = {entry.site for entry in plan.inventory}
        self.faults += [SiteFault(site, "not-in-plan") for site in roster.members if site not in known]
        self.on_event(RunPlanned(self.journal.run, plan, tuple(self.faults)))
        self.missed = frozenset(fault.site for fault in roster.faults if fault.code in ABSENT)
        return roster.planned(plan, self.nodes), plan

    def _lacking(self, answered: set[str]) -> str | None:
        """Return what a round still lacks, None where it may count.

        A site that has nothing to learn a stage from, and says so, answered well; but somebody must contribute. One
        that has no privacy left to spend is not asked again, and is missing: what it knows is no longer learnt.
        """
        federation = self.study.federation
        missing = sorted(set(federation.required) - answered)
        if missing:
            return f"lacks {', '.join(missing)}, which the study requires"
        if len(answered) < federation.quorum:
            return f"reached {len(answered)} sites of a quorum of {federation.quorum}"
        return None

    def _require(
        self, where: str, contributed: set[str], answered: set[str], exhausted: set[str], faults: Iterable[SiteFault]
    ) -> None:
        """End the run where the round does not count."""
        lacking = self._lacking(answered)
        if lacking:
            spent = f"; no privacy is left to spend at {', '.join(sorted(exhausted))}" if exhausted else ""
            raise _RunOverError(INCOMPLETE if answered else FAILED, f"{where} {lacking}{spent}{_unapproved(faults)}")
        if not contributed:
            raise _RunOverError(FAILED, f"{where}: no site has anything to learn from; leave the stage out")

    def _play_stage(self, model: StageModel, plan: Plan, roster: Roster) -> None:
        """Play the rounds of a stage that do not count yet."""
        stage, settings = model.stage, model.settings
        last = self.journal.last(stage) or Checkpoint(0, GlobalState.first(model.initial), {"sat_out": []})
        self.faults += self.journal.faults(stage)
        self.on_event(StageStarted(stage, settings.rounds, last.round))
        for number in range(last.round + 1, settings.rounds + 1):
            self.exchange.safe_point()
            last = self._play_round(model, plan, roster, number, last)
            self.on_event(RoundFinished(stage, number, settings.rounds, last.record))
        self.on_event(StageFinished(stage, settings.rounds, self.journal.weights(stage)))

    def _play_round(self, model: StageModel, plan: Plan, roster: Roster, number: int, last: Checkpoint) -> Checkpoint:
        """Play one round from the state that `last` left, and make it count."""
        stage, began, past = model.stage, time.monotonic(), self.journal.records(model.stage)
        sat_out, aggregator = set(last.record["sat_out"]), self._aggregator(model)
        one = self._open_round(model, plan, roster, number, last.record)
        outcome = self._outcome(one, last.state.tensors, past)
        self.faults += outcome.faults
        exhausted = _exhausted(past) | outcome.exhausted
        sat_out |= outcome.sat_out | exhausted
        if not model.optional:
            answered = outcome.contributed | (sat_out - exhausted)
            self._require(f"{stage} round {number}", outcome.contributed, answered, exhausted, outcome.faults)
        state = aggregator.advance(last.state, outcome.updates)
        raised = alarms(outcome.sites, past)
        for alarm in raised:
            self.on_event(AlarmRaised(stage, number, alarm))
        record = self._record(one, outcome, sat_out) | {
            "alarms": [asdict(alarm) for alarm in raised],
            "too_few_sites": aggregator.refused(outcome.updates),
            "seconds": round(time.monotonic() - began, 3),
        }
        counted = Checkpoint(number, state, self.journal.commit(stage, number, state, record))
        forget_transcripts(self.journal.out)
        return counted

    def _outcome(self, one: OneRound, tensors: StateDict, past: list[dict[str, Any]]) -> Outcome:
        """Play a round, singly or as a secure sum; a sum that cannot be opened ends the run, unless it is optional.

        A site that is withdrawn once its part is in a sum stays in that sum: nobody can take it out.
        """
        if not self.study.secure_aggregation.enabled:
            return one.play(tensors, past, self.on_event).without(self.journal.requests.withdrawn_sites())
        pinned = {site: entry.signing_key for site, entry in self.admitted.sites.items()}
        try:
            return SecureRound(one, tensors, pinned).play(self.on_event)
        except SecureSumError as error:
            self.faults += [SiteFault(site, code, one.model.stage, one.number) for site, code in error.left.items()]
            if one.model.optional:
                return Outcome()
            raise _RunOverError(INCOMPLETE, str(error)) from None

    def _open_round(
        self, model: StageModel, plan: Plan, roster: Roster, number: int, before: Mapping[str, Any]
    ) -> OneRound:
        """Choose whom a round asks: the members that have something to learn and were not withdrawn."""
        sat_out, withdrawn = set(before["sat_out"]), self.journal.requests.withdrawn_sites()
        exhausted = _exhausted(self.journal.records(model.stage))
        asked = {site: each.node for site, each in roster.members.items() if site not in sat_out | withdrawn}
        self.on_event(RoundStarted(model.stage, number, model.settings.rounds, tuple(asked)))
        absent = self.missed | {site for site, entry in before.get("sites", {}).items() if entry["code"] in ABSENT}
        self.missed = frozenset()

        def lacking(contributed: set[str], newly_out: set[str]) -> str | None:
            return None if model.optional else self._lacking(contributed | (sat_out - exhausted) | newly_out)

        return OneRound(self.exchange, self.journal, model, plan, number, asked, absent, lacking, self.holdings)

    def _aggregator(self, model: StageModel) -> Aggregator:
        """Return how the stage's updates are put together."""
        cap, settings = self.study.federation.weight_cap_patients, model.settings
        return Aggregator(
            self.study.aggregation, cap, settings.ema_decay, settings.local_steps, model.parameters, model.grouping
        )

    def _note_late(self, node: int, group: str) -> None:
        """Write down an answer that came after its deadline; it counts nowhere."""
        site = next((site for site, number in self.nodes.items() if number == node), None)
        stage, _, number = group.rpartition("-")
        if site is not None and stage in set(Stage):
            self.journal.note_fault(SiteFault(site, "answered-late", Stage(stage), int(number)))

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


def _unapproved(faults: Iterable[SiteFault]) -> str:
    """Return who of the missing has not approved the plan, and what to do, to be added to a reason."""
    sites = sorted({fault.site for fault in faults if fault.code == NOT_APPROVED})
    if not sites:
        return ""
    named = f"{', '.join(sites)} {'has' if len(sites) == 1 else 'have'} not approved the plan"
    return f"; {named}: approve the plan at the site, then `gliofed-server resume`"


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


def _exhausted(records: Iterable[Mapping[str, Any]]) -> set[str]:
    """Return the sites that said in a stage's rounds that they have no privacy left to spend on it."""
    entries = (entry for record in records for entry in record["sites"].items())
    return {site for site, entry in entries if entry["code"] == BUDGET_EXHAUSTED}
