"""The loop: inventory, then stage after stage, round after round, then the release; from the last round that counts."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from flwr.serverapp import Grid

from common import roster_file
from common.assessment.dossier import Dossier
from common.nets.stage_models import build_model
from common.parameters import StateDict
from common.plan import Plan
from common.settings.stages import Stage
from common.study import Study
from server.approval.written_plans import offered_plan
from server.assessment import assess_release
from server.contract import contract_of
from server.control import Control, StopRequestedError
from server.ending import finished_result, stop_sites
from server.events import Listener, RunFinished, RunPlanned, ignore
from server.exchange import Exchange
from server.first_weights import read_first_weights
from server.holdings import Holdings
from server.journal import Journal
from server.registry import write_release
from server.result import COMPLETE, INCOMPLETE, STOPPED, WITHDRAWN, RunResult, SiteFault
from server.roster import Roster, admitted_nodes, call_roll
from server.round.quorum import RunOverError, require
from server.round.stage_rounds import ABSENT, StageRounds
from server.round.underway import Underway
from server.stages import ModelBuilder, open_stage


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
        self.run = Underway(self.exchange, journal, on_event, admitted)
        self.journal, self.study, self.nodes, self.on_event = journal, journal.study, nodes, on_event
        self.build, self.first_weights = build, first_weights

    def play(self) -> RunResult:
        """Play every stage and release, or end early; a run that is complete already only says so again."""
        result = finished_result(self.journal)
        if result is None:
            try:
                self.exchange.safe_point()
                roster, plan = self._plan()
                for stage in self.study.stages.present:
                    model = open_stage(stage, self.study, plan, self.build, self.first_weights)
                    StageRounds(self.run, model, plan, roster).play()
                dossier = self._assess(plan, roster)
                self.exchange.safe_point()
                release = write_release(self.journal, dossier)
                result = self._result(COMPLETE, None, release.path, release.digest)
            except RunOverError as over:
                result = self._result(over.status, str(over), None, None)
            except StopRequestedError:
                stop_sites(self.exchange, self.journal, self.nodes)
                result = self._result(INCOMPLETE, STOPPED, None, None)
            self.journal.finish(result)
        self.on_event(RunFinished(result))
        return result

    def _assess(self, plan: Plan, roster: Roster) -> Dossier | None:
        """Let the sites judge the averaged models, where the study asks; end the run where that forbids a release."""
        dossier = assess_release(self.exchange, self.journal, plan, roster, self.run.holdings, self.on_event)
        if dossier is not None and dossier.refusal is not None:
            raise RunOverError(INCOMPLETE, f"the release is refused: {dossier.refusal}")
        return dossier

    def _result(self, status: str, reason: str | None, release: Path | None, digest: str | None) -> RunResult:
        contract = contract_of(self.journal)
        withdrawn = [SiteFault(site, WITHDRAWN) for site in contract.withdrawn]
        faults = (*self.run.faults, *(fault for fault in withdrawn if fault not in self.run.faults))
        return RunResult(status, self.journal.run, self.journal.out, release, digest, reason, faults, contract)

    def _plan(self) -> tuple[Roster, Plan]:
        """Call the roll and freeze the plan, or find the frozen one: its sites are the members, and nobody else.

        A site that misses the roll call of a resumed run has been waited for; the first round does so no more.
        """
        roster = self._call_roll()
        self.run.faults += roster.faults
        self.run.holdings = Holdings({site: member.holds for site, member in roster.members.items()})
        there = set(roster.members)
        require(self.study.federation, "the inventory", there, there, set(), roster.faults)
        plan = self._frozen_plan(roster)
        known = {entry.site for entry in plan.inventory}
        self.run.faults += [SiteFault(site, "not-in-plan") for site in roster.members if site not in known]
        self.on_event(RunPlanned(self.journal.run, plan, tuple(self.run.faults)))
        self.run.missed = frozenset(fault.site for fault in roster.faults if fault.code in ABSENT)
        return roster.planned(plan, self.nodes), plan

    def _call_roll(self) -> Roster:
        """Ask the sites that were not withdrawn who is there, and write down who is not."""
        withdrawn = self.journal.requests.withdrawn_sites()
        nodes = {site: node for site, node in self.nodes.items() if site not in withdrawn}
        offered = offered_plan(self.journal.out, self.study)
        roster = call_roll(self.exchange, self.study, nodes, self.journal.run, offered)
        for fault in roster.faults:
            self.journal.note_fault(fault)
        for member in roster.members.values():
            if member.withdrawn:
                self.journal.note_withdrawn(member.site, member.withdrawn)
        return roster

    def _frozen_plan(self, roster: Roster) -> Plan:
        """Return the frozen plan; the first roll call of a run makes it."""
        if not self.journal.planned:
            members = roster.members.values()
            plan = Plan(study_digest=self.study.digest, inventory=tuple(member.inventory for member in members))
            self.journal.freeze(plan, {member.site: member.greys for member in members})
        return self.journal.plan()

    def _note_late(self, node: int, group: str) -> None:
        """Write down an answer that came after its deadline; it counts nowhere."""
        site = next((site for site, number in self.nodes.items() if number == node), None)
        stage, _, number = group.rpartition("-")
        if site is not None and stage in set(Stage):
            self.journal.note_fault(SiteFault(site, "answered-late", Stage(stage), int(number)))
