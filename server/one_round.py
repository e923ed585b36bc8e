"""One round: the task goes out to the sites, their answers come in through the gate and are spooled."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from flwr.app import ArrayRecord, ConfigRecord, MetricRecord, RecordDict
from flwr.app.message_type import MessageType
from safetensors.torch import load_file, save

from common.parameters import StateDict
from common.plan import Plan
from common.records import (
    ANSWER,
    EARLIER,
    GLOBAL,
    NEEDS_EARLIER_MODELS,
    NOTHING_TO_TRAIN,
    OK,
    TASK,
    Answer,
    RoundKey,
    Task,
    WireError,
    pack_tensors,
    pack_text,
    read_text,
    size_bytes,
)
from common.settings.stages import Stage
from server.aggregation.weighted import SpooledUpdate
from server.events import Listener, SiteAnswered
from server.exchange import Exchange, Reply
from server.gate import Accepted
from server.journal import Journal
from server.result import SiteFault
from server.roster import Roster
from server.stages import StageModel, earlier_weights
from server.update_norms import lengths_of, norms_of, outliers

LARGE_NORM = "large-norm"

Record = ArrayRecord | ConfigRecord | MetricRecord


@dataclass
class Outcome:
    """What came in during a round.

    Attributes:
        updates: accepted and spooled.
        sites: site → its entry in the round's record.
        faults: sites that were asked and gave no update that counts.
        sat_out: sites that have nothing to learn the stage from.
    """

    updates: list[SpooledUpdate] = field(default_factory=list)
    sites: dict[str, dict[str, Any]] = field(default_factory=dict)
    faults: list[SiteFault] = field(default_factory=list)
    sat_out: set[str] = field(default_factory=set)


@dataclass(frozen=True)
class OneRound:
    """Round `number` of a stage.

    Attributes:
        asked: site → node, for the sites that get the task.
    """

    exchange: Exchange
    journal: Journal
    model: StageModel
    plan: Plan
    roster: Roster
    number: int
    asked: Mapping[str, int]

    def play(self, tensors: StateDict, past: Iterable[Mapping[str, Any]], on_event: Listener) -> Outcome:
        """Send the global `tensors` and take in what the sites answer until the study's deadline.

        Args:
            tensors: the round's global state.
            past: the records of the stage's earlier rounds.
            on_event: hears each answer as it comes, and each update that does not stand beside the others.
        """
        outcome, earlier = Outcome(), earlier_weights(self.journal, self.model.stage)
        task = self._task(tensors, earlier)
        for reply, sent in self._ask(tensors, task, earlier):
            site = self.roster.site_of(reply.node)
            entry = self._take(site, reply, task.key, outcome)
            bytes_up = size_bytes(reply.content) if reply.content is not None else 0
            entry |= {"bytes_down": size_bytes(sent), "bytes_up": bytes_up, "seconds": round(reply.seconds, 3)}
            outcome.sites[site] = entry
            on_event(SiteAnswered(self.model.stage, self.number, site, entry["code"]))
        self._compare(tensors, past, outcome, on_event)
        return outcome

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
            outcome.faults.append(SiteFault(site, LARGE_NORM, self.model.stage, self.number))
            on_event(SiteAnswered(self.model.stage, self.number, site, LARGE_NORM))
        for update in outcome.updates:
            outcome.sites[update.site]["norms"] = norms[update.site]

    def _ask(
        self, tensors: StateDict, task: Task, earlier: Mapping[Stage, tuple[Path, str]]
    ) -> Iterator[tuple[Reply, RecordDict]]:
        """Send one message to each site and yield each reply with what had been sent.

        The first round of a stage carries the weights of the stage before it, and the norms that a site of a FedBN
        study goes on from. A site that says it lacks any of these is asked once more, with all of them.
        """
        deadline_s, began = self.journal.study.federation.deadline_s, time.monotonic()
        base: dict[str, Record] = {
            TASK: pack_text(task),
            GLOBAL: pack_tensors(self.model.travelling(tensors, norms=self.number == 1)),
        }
        first = RecordDict({**base, **_packed(earlier, list(earlier)[-1:] if self.number == 1 else [])})
        group = f"{self.model.stage}-{self.number}"
        again: list[int] = []
        for reply in self.exchange.ask(dict.fromkeys(self.asked.values(), first), MessageType.TRAIN, group, deadline_s):
            if _lacks_weights(reply):
                again.append(reply.node)
            else:
                yield reply, first
        if again:
            base[GLOBAL] = pack_tensors(self.model.travelling(tensors, norms=True))
            full = RecordDict({**base, **_packed(earlier, list(earlier))})
            left_s = max(deadline_s - (time.monotonic() - began), 0.1)
            for reply in self.exchange.ask(dict.fromkeys(again, full), MessageType.TRAIN, group, left_s):
                yield reply, full

    def _task(self, tensors: StateDict, earlier: Mapping[Stage, tuple[Path, str]]) -> Task:
        study = self.journal.study
        return Task(
            run=self.journal.run,
            stage=self.model.stage,
            round=self.number,
            global_sha256=hashlib.sha256(save(tensors)).hexdigest(),
            study=study,
            study_digest=study.digest,
            plan=self.plan,
            earlier={stage: digest for stage, (_, digest) in earlier.items()},
        )

    def _take(self, site: str, reply: Reply, key: RoundKey, outcome: Outcome) -> dict[str, Any]:
        """Let one reply through the gate, or name its fault; return its entry in the record."""
        code, refusal = reply.code, None
        if reply.content is not None:
            try:
                admitted = self.model.gate.admit(site, reply.content, key)
            except WireError as error:
                code, refusal = error.code, str(error)
            else:
                if isinstance(admitted, Accepted):
                    return self._spool(site, admitted, outcome)
                code = admitted
        if code == NOTHING_TO_TRAIN:
            outcome.sat_out.add(site)
        else:
            outcome.faults.append(SiteFault(site, code, self.model.stage, self.number))
        return {"code": code} | ({"refusal": refusal} if refusal else {})

    def _spool(self, site: str, accepted: Accepted, outcome: Outcome) -> dict[str, Any]:
        path = self.journal.spool(self.model.stage, self.number, site, accepted.tensors)
        outcome.updates.append(SpooledUpdate(site, path, accepted.patients))
        return {
            "code": OK,
            "patients": dict(sorted(accepted.patients.items())),
            "metrics": dict(accepted.metrics),
            "withheld": list(accepted.withheld),
        }


def _packed(weights: Mapping[Stage, tuple[Path, str]], stages: list[Stage]) -> dict[str, ArrayRecord]:
    """Return the earlier weights of `stages` as records."""
    return {EARLIER + stage.value: pack_tensors(load_file(weights[stage][0])) for stage in stages}


def _lacks_weights(reply: Reply) -> bool:
    """Return whether the site says that it lacks weights of earlier stages."""
    if reply.content is None:
        return False
    try:
        return read_text(reply.content, ANSWER, Answer).code == NEEDS_EARLIER_MODELS
    except WireError:
        return False
