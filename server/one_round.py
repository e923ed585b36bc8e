"""One round: the task goes out to the sites, their answers come in through the gate and into the journal."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from flwr.app import ArrayRecord, ConfigRecord, MetricRecord, RecordDict
from flwr.app.message_type import MessageType
from safetensors.torch import save

from common.parameters import NORMS, StateDict
from common.plan import Plan
from common.records import (
    ANSWER,
    BUDGET_EXHAUSTED,
    NEEDS_TENSORS,
    OK,
    SITS_OUT,
    TASK,
    Answer,
    Declared,
    RoundKey,
    Task,
    WireError,
    pack_text,
    read_text,
    size_bytes,
)
from server.aggregation.weighted import SpooledUpdate
from server.downlink import Downlink
from server.earlier_models import EarlierModels
from server.events import Listener, SiteAnswered
from server.exchange import Exchange, Patience, Reply
from server.gate import Accepted
from server.holdings import Holdings
from server.journal import Journal
from server.result import WITHDRAWN, SiteFault
from server.stages import StageModel, earlier_weights
from server.update_norms import lengths_of, norms_of, outliers

LARGE_NORM = "large-norm"

Record = ArrayRecord | ConfigRecord | MetricRecord


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


@dataclass(frozen=True)
class Asked:
    """What sites are asked for: the task but for its groups, each site's groups, and replies as they come.

    The groups are those that a site starts a stage from, norms included, by digest; a reply comes before anything is
    taken from it, with the bytes that had been sent.
    """

    task: Task
    groups: Mapping[str, Mapping[str, str]]
    replies: Iterator[tuple[Reply, int]]


@dataclass(frozen=True)
class OneRound:
    """Round `number` of a stage.

    Attributes:
        asked: site → node, for the sites that take part.
        absent: sites of those that were not there in the round before; they are not waited for once others suffice.
        lacking: what the round still lacks by the study's contract, given who contributed and who sat out.
        holdings: what each site need not be sent again.
    """

    exchange: Exchange
    journal: Journal
    model: StageModel
    plan: Plan
    number: int
    asked: Mapping[str, int]
    absent: frozenset[str]
    lacking: Callable[[set[str], set[str]], str | None]
    holdings: Holdings

    def play(self, tensors: StateDict, past: Iterable[Mapping[str, Any]], on_event: Listener) -> Outcome:
        """Send the global `tensors` and take in what the sites answer until the stage's deadline.

        A site whose update was accepted before the coordinator died is not asked again.

        Args:
            tensors: the round's global state.
            past: the records of the stage's earlier rounds.
            on_event: hears each answer as it comes, and each update that does not stand beside the others.
        """
        outcome, earlier = Outcome(), EarlierModels(earlier_weights(self.journal, self.model.stage))
        task = self._task(tensors, earlier)
        downlink = Downlink(tensors, self.journal.study.wire, self.model.grouping)
        for update, entry in self.journal.accepted(self.model.stage, self.number, task.global_sha256):
            outcome.updates.append(update)
            outcome.sites[update.site] = entry
        self.journal.begin_attempt(self.model.stage, self.number)
        site_at = {node: site for site, node in self.asked.items() if site not in outcome.sites}

        def satisfied() -> bool:
            return self.lacking({update.site for update in outcome.updates}, outcome.sat_out) is None

        for reply, bytes_down in self._ask(task, downlink, earlier, site_at, satisfied):
            site = site_at[reply.node]
            bytes_up = size_bytes(reply.content) if reply.content is not None else 0
            entry = {"bytes_down": bytes_down, "bytes_up": bytes_up, "seconds": round(reply.seconds, 3)}
            outcome.sites[site] = self._take(site, reply, task.key, entry, downlink, outcome)
            on_event(SiteAnswered(self.model.stage, self.number, site, outcome.sites[site]["code"]))
        self._compare(tensors, past, outcome, on_event)
        return outcome

    def ask(self, tensors: StateDict, beside: Mapping[str, ConfigRecord], satisfied: Callable[[], bool]) -> Asked:
        """Send every site its task and the records `beside` it, once the replies are asked for."""
        earlier = EarlierModels(earlier_weights(self.journal, self.model.stage))
        downlink = Downlink(tensors, self.journal.study.wire, self.model.grouping)
        site_at = {node: site for site, node in self.asked.items()}
        task = self._task(tensors, earlier)
        groups = {site: downlink.groups(self.model.known[site] | {NORMS}) for site in self.asked}
        return Asked(task, groups, self._ask(task, downlink, earlier, site_at, satisfied, beside))

    def _compare(
        self, tensors: StateDict, past: Iterable[Mapping[str, Any]], outcome: Outcome, on_event: Listener
    ) -> None:
        """Note how far each update leads, and take out those that lead too far beside the others."""
        norms = {update.site: norms_of(tensors, update, self.model.grouping) for update in outcome.updates}
        limit, lengths = self.journal.study.gate.norm_limit, lengths_of(tensors, self.model.grouping)
        found = outliers(norms, lengths, past, limit)
        outcome.updates = [update for update in outcome.updates if update.site not in found]
        for site, outlier in found.items():
            kept = {key: outcome.sites[site][key] for key in ("bytes_down", "bytes_up", "seconds")}
            outcome.sites[site] = {"code": LARGE_NORM, "refusal": str(outlier), "group": outlier.group, **kept}
            self.journal.take_back(self.model.stage, self.number, site)
            self._note_fault(SiteFault(site, LARGE_NORM, self.model.stage, self.number), outcome)
            on_event(SiteAnswered(self.model.stage, self.number, site, LARGE_NORM))
        for update in outcome.updates:
            outcome.sites[update.site]["norms"] = norms[update.site]

    def _ask(
        self,
        task: Task,
        downlink: Downlink,
        earlier: EarlierModels,
        site_at: Mapping[int, str],
        satisfied: Callable[[], bool],
        beside: Mapping[str, ConfigRecord] = MappingProxyType({}),
    ) -> Iterator[tuple[Reply, int]]:
        """Send one message to each site and yield each reply with the bytes that had been sent.

        A message carries what the site is not known to hold. A site that says it lacks some of it, its disk was lost,
        is asked once more, by what it says now.
        """
        deadline_s = self.journal.study.deadline_s(self.model.stage)
        group = f"{self.model.stage}-{self.number}"
        patience = Patience(
            self.journal.study.federation.absence_s,
            frozenset(node for node, site in site_at.items() if site in self.absent),
            satisfied,
        )
        contents = {node: self._content(site, task, downlink, earlier, beside) for node, site in site_at.items()}
        sizes = {node: size_bytes(content) for node, content in contents.items()}

        def again(reply: Reply) -> RecordDict | None:
            if not _lacks_tensors(reply):
                return None
            self._note(site_at[reply.node], reply, downlink, earlier)
            content = self._content(site_at[reply.node], task, downlink, earlier, beside)
            sizes[reply.node] += size_bytes(content)
            return content

        for reply in self.exchange.ask(contents, MessageType.TRAIN, group, deadline_s, patience, again):
            self._note(site_at[reply.node], reply, downlink, earlier)
            yield reply, sizes[reply.node]

    def _content(
        self, site: str, task: Task, downlink: Downlink, earlier: EarlierModels, beside: Mapping[str, ConfigRecord]
    ) -> RecordDict:
        """Return the task of `site`, with what it lacks of the global groups and of the earlier models."""
        known, holds = self._known(site), self.holdings.of(site)
        own = task.model_copy(update={"groups": downlink.groups(known)})
        records: dict[str, Record] = {TASK: pack_text(own), **downlink.lacking(known, holds), **earlier.lacking(holds)}
        return RecordDict({**records, **beside})

    def _known(self, site: str) -> frozenset[str]:
        """Return the groups that a site is sent; norms, to begin the stage with, until it has some of its own."""
        begins = not self.holdings.has_trained(site, self.model.stage)
        return self.model.known[site] | ({NORMS} if begins else set())

    def _note(self, site: str, reply: Reply, downlink: Downlink, earlier: EarlierModels) -> None:
        """Remember what a site holds, by its answer."""
        named = (*downlink.groups(self._known(site)).values(), *earlier.digests.values())
        self.holdings.note(site, reply.content, named, self.model.stage)

    def _task(self, tensors: StateDict, earlier: EarlierModels) -> Task:
        study = self.journal.study
        return Task(
            run=self.journal.run,
            stage=self.model.stage,
            round=self.number,
            global_sha256=hashlib.sha256(save(tensors)).hexdigest(),
            study=study,
            study_digest=study.digest,
            plan=self.plan,
            earlier=earlier.digests,
        )

    def _take(
        self, site: str, reply: Reply, key: RoundKey, entry: dict[str, Any], downlink: Downlink, outcome: Outcome
    ) -> dict[str, Any]:
        """Let one reply through the gate, or name its fault; return its entry in the record."""

        def unpack(record: ArrayRecord, declared: Mapping[str, Declared]) -> StateDict:
            return downlink.read_update(record, declared, self.model.known[site])

        code, refusal = reply.code, None
        if site in self.journal.requests.withdrawn_sites():
            code = WITHDRAWN
        elif reply.content is not None:
            try:
                admitted = self.model.gate.admit(site, reply.content, key, unpack)
            except WireError as error:
                code, refusal = error.code, str(error)
            else:
                if isinstance(admitted, Accepted):
                    return self._accept(site, admitted, key, entry, outcome)
                code = admitted
        if code in SITS_OUT:
            (outcome.exhausted if code == BUDGET_EXHAUSTED else outcome.sat_out).add(site)
        else:
            self._note_fault(SiteFault(site, code, self.model.stage, self.number), outcome)
        return {"code": code} | ({"refusal": refusal} if refusal else {}) | entry

    def _accept(
        self, site: str, accepted: Accepted, key: RoundKey, entry: dict[str, Any], outcome: Outcome
    ) -> dict[str, Any]:
        """Put an accepted update into the journal: from here on it need not be asked for again."""
        if accepted.withdrawn:
            self.note_withdrawn(site, accepted.withdrawn)
        full = {
            "code": OK,
            "patients": dict(sorted(accepted.patients.items())),
            "metrics": dict(accepted.metrics),
            "withheld": list(accepted.withheld),
            **({"spent": accepted.spent.model_dump()} if accepted.spent else {}),
            **entry,
        }
        outcome.updates.append(self.journal.accept(key, site, accepted.tensors, accepted.patients, full))
        return full

    def _note_fault(self, fault: SiteFault, outcome: Outcome) -> None:
        outcome.faults.append(fault)
        self.journal.note_fault(fault)

    def note_withdrawn(self, site: str, patients: int) -> None:
        """Write down that patients of a site are withdrawn, who may have been in any round that it contributed to."""
        self.journal.note_withdrawn(site, patients)


def _lacks_tensors(reply: Reply) -> bool:
    """Return whether the site says that it lacks tensors."""
    if reply.content is None:
        return False
    try:
        return read_text(reply.content, ANSWER, Answer).code == NEEDS_TENSORS
    except WireError:
        return False
