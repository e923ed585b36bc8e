"""What goes out in a round: to each site its task, with the tensors that it is not known to hold."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from flwr.app import ArrayRecord, ConfigRecord, MetricRecord, RecordDict
from flwr.app.message_type import MessageType

from common.parameters import NORMS
from common.records import ANSWER, NEEDS_TENSORS, TASK, Answer, Task, WireError, pack_text, read_text, size_bytes
from server.downlink import Downlink
from server.earlier_models import EarlierModels
from server.exchange import Exchange, Patience, Reply
from server.holdings import Holdings
from server.stages import StageModel

Record = ArrayRecord | ConfigRecord | MetricRecord


@dataclass(frozen=True)
class Asking:
    """The messages of a round.

    Attributes:
        task: but for its groups, which each site is told apart.
        downlink: the global tensors.
        earlier: the models of earlier stages.
        holdings: what each site need not be sent again; answers add to it.
        absent: sites that are not waited for once others suffice.
    """

    exchange: Exchange
    model: StageModel
    task: Task
    downlink: Downlink
    earlier: EarlierModels
    holdings: Holdings
    absent: frozenset[str]

    def replies(
        self,
        site_at: Mapping[int, str],
        satisfied: Callable[[], bool],
        beside: Mapping[str, ConfigRecord] = MappingProxyType({}),
    ) -> Iterator[tuple[Reply, int]]:
        """Send one message to each site and yield each reply with the bytes that had been sent.

        A message carries what the site is not known to hold. A site that says it lacks some of it, its disk was lost,
        is asked once more, by what it says now.
        """
        study = self.task.study
        deadline_s = study.deadline_s(self.task.stage)
        group = f"{self.task.stage}-{self.task.round}"
        patience = Patience(
            study.federation.absence_s,
            frozenset(node for node, site in site_at.items() if site in self.absent),
            satisfied,
        )
        contents = {node: self._content(site, beside) for node, site in site_at.items()}
        sizes = {node: size_bytes(content) for node, content in contents.items()}

        def again(reply: Reply) -> RecordDict | None:
            if not _lacks_tensors(reply):
                return None
            self._note(site_at[reply.node], reply)
            content = self._content(site_at[reply.node], beside)
            sizes[reply.node] += size_bytes(content)
            return content

        for reply in self.exchange.ask(contents, MessageType.TRAIN, group, deadline_s, patience, again):
            self._note(site_at[reply.node], reply)
            yield reply, sizes[reply.node]

    def _content(self, site: str, beside: Mapping[str, ConfigRecord]) -> RecordDict:
        """Return the task of `site`, with what it lacks of the global groups and of the earlier models."""
        known, holds = self._known(site), self.holdings.of(site)
        own = self.task.model_copy(update={"groups": self.downlink.groups(known)})
        records: dict[str, Record] = {TASK: pack_text(own), **self.downlink.lacking(known, holds)}
        records |= self.earlier.lacking(holds)
        return RecordDict({**records, **beside})

    def _known(self, site: str) -> frozenset[str]:
        """Return the groups that a site is sent; norms, to begin the stage with, until it has some of its own."""
        begins = not self.holdings.has_trained(site, self.task.stage)
        return self.model.known[site] | ({NORMS} if begins else set())

    def _note(self, site: str, reply: Reply) -> None:
        """Remember what a site holds, by its answer."""
        named = (*self.downlink.groups(self._known(site)).values(), *self.earlier.digests.values())
        self.holdings.note(site, reply.content, named, self.task.stage)


def _lacks_tensors(reply: Reply) -> bool:
    """Return whether the site says that it lacks tensors."""
    if reply.content is None:
        return False
    try:
        return read_text(reply.content, ANSWER, Answer).code == NEEDS_TENSORS
    except WireError:
        return False
