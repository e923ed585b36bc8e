"""An in-process Flower grid: the real ClientApp is called where a message would be delivered, one after another."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from flwr.app import Context, Error, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid
from flwr.supercore.run import Run
from flwr.supercore.task_identity import TaskIdentity

RUN_ID, TASK_ID, SERVER_NODE_ID = 1, 1, 1
CLIENT_APP_RAISED, MESSAGE_UNAVAILABLE = 2, 3


@dataclass(frozen=True)
class VirtualNode:
    """A SuperNode that is none: the ClientApp and the node configuration that it would run with."""

    app: ClientApp
    node_config: Mapping[str, str]


class InProcessGrid(Grid):
    """Delivers each message when its answer is pulled; contents are copied, as a wire would.

    Args:
        nodes: node identifier → virtual node.
        around: called as `around(node, work)` for each delivery; an engine sets the scene there (who listens).
    """

    def __init__(
        self, nodes: Mapping[int, VirtualNode], around: Callable[[int, Callable[[], Message]], Message] | None = None
    ) -> None:
        self._nodes = dict(nodes)
        self._around = around or (lambda node, work: work())
        self._states = {node: RecordDict() for node in nodes}
        self._waiting: dict[str, Message] = {}
        self._count = 0
        TaskIdentity.run_id, TaskIdentity.task_id, TaskIdentity.node_id = RUN_ID, TASK_ID, SERVER_NODE_ID

    def set_run(self, run: Run) -> None:
        """Refuse: this grid has one run."""
        raise NotImplementedError("an in-process grid has one run of its own")

    @property
    def run(self) -> Run:
        """The run that this grid stands for."""
        return Run.create_empty(run_id=RUN_ID)

    def create_message(
        self, content: RecordDict, message_type: str, dst_node_id: int, group_id: str, ttl: float | None = None
    ) -> Message:
        """Return a message; Flower has deprecated this in favour of the constructor."""
        return Message(content, dst_node_id, message_type, ttl=ttl, group_id=group_id)

    def get_node_ids(self) -> Iterable[int]:
        """Return all nodes: they are always online."""
        return list(self._nodes)

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Take messages in and return their identifiers."""
        identifiers = []
        for message in messages:
            self._count += 1
            identifier = str(self._count)
            message.metadata.__dict__["_message_id"] = identifier
            self._waiting[identifier] = message
            identifiers.append(identifier)
        return identifiers

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """Deliver the first of these messages that waits and return its answer; nothing where none waits."""
        for identifier in message_ids:
            message = self._waiting.pop(identifier, None)
            if message is not None:
                return [self._deliver(message)]
        return []

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Iterable[Message]:
        """Push and pull until every answer is there or the time is over."""
        replies: list[Message] = []
        started = time.monotonic()
        identifiers = list(self.push_messages(messages))
        while len(replies) < len(identifiers) and (timeout is None or time.monotonic() - started < timeout):
            replies += self.pull_messages(identifiers)
        return replies

    def _deliver(self, message: Message) -> Message:
        """Call the node's app, or return the error that a real grid would."""
        metadata = message.metadata
        if time.time() > metadata.created_at + metadata.ttl:
            return Message(Error(MESSAGE_UNAVAILABLE, "expired"), reply_to=message)
        number = metadata.dst_node_id
        node = self._nodes[number]
        message.content = copy.deepcopy(message.content)
        context = Context(
            run_id=RUN_ID,
            node_id=number,
            node_config=dict(node.node_config),
            state=self._states[number],
            run_config={},
        )
        try:
            return self._around(number, lambda: node.app(message, context))
        except Exception as error:
            return Message(Error(CLIENT_APP_RAISED, type(error).__name__), reply_to=message)
