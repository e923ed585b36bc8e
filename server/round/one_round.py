"""One round: the task goes out to the sites, their answers come in through the gate and into the journal."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from flwr.app import ArrayRecord, ConfigRecord
from safetensors.torch import save

from common.parameters import NORMS, StateDict
from common.plan import Plan
from common.records import BUDGET_EXHAUSTED, OK, SITS_OUT, Declared, RoundKey, Task, WireError, size_bytes
from server.downlink import Downlink
from server.earlier_models import EarlierModels
from server.events import Listener, SiteAnswered
from server.exchange import Exchange, Reply
from server.gate import Accepted
from server.holdings import Holdings
from server.journal import Journal
from server.result import WITHDRAWN, SiteFault
from server.round.asking import Asking
from server.round.outcome import Outcome
from server.stages import StageModel, earlier_weights
from server.update_norms import lengths_of, norms_of, outliers

LARGE_NORM = "large-norm"


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
        outcome, asking = Outcome(), self._asking(tensors)
        key = asking.task.key
        for update, entry in self.journal.accepted(self.model.stage, self.number, asking.task.global_sha256):
            outcome.updates.append(update)
            outcome.sites[update.site] = entry
        self.journal.begin_attempt(self.model.stage, self.number)
        site_at = {node: site for site, node in self.asked.items() if site not in outcome.sites}

        def satisfied() -> bool:
            return self.lacking({update.site for update in outcome.updates}, outcome.sat_out) is None

        for reply, bytes_down in asking.replies(site_at, satisfied):
            site = site_at[reply.node]
            bytes_up = size_bytes(reply.content) if reply.content is not None else 0
            entry = {"bytes_down": bytes_down, "bytes_up": bytes_up, "seconds": round(reply.seconds, 3)}
            outcome.sites[site] = self._take(site, reply, key, entry, asking.downlink, outcome)
            on_event(SiteAnswered(self.model.stage, self.number, site, outcome.sites[site]["code"]))
        self._compare(tensors, past, outcome, on_event)
        return outcome

    def ask(self, tensors: StateDict, beside: Mapping[str, ConfigRecord], satisfied: Callable[[], bool]) -> Asked:
        """Send every site its task and the records `beside` it, once the replies are asked for."""
        asking, site_at = self._asking(tensors), {node: site for site, node in self.asked.items()}
        groups = {site: asking.downlink.groups(self.model.known[site] | {NORMS}) for site in self.asked}
        return Asked(asking.task, groups, asking.replies(site_at, satisfied, beside))

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

    def _asking(self, tensors: StateDict) -> Asking:
        """Return what the round sends, from the global `tensors`."""
        earlier = EarlierModels(earlier_weights(self.journal, self.model.stage))
        downlink = Downlink(tensors, self.journal.study.wire, self.model.grouping)
        task = self._task(tensors, earlier)
        return Asking(self.exchange, self.model, task, downlink, earlier, self.holdings, self.absent)

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
