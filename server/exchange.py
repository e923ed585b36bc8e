"""Questions to the sites' nodes: each has a deadline, and a node that owes an answer is asked nothing else."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from flwr.app import Message, RecordDict
from flwr.serverapp import Grid

ANSWERED = "answered"
LATE = "late"
BUSY = "busy"
UNREACHABLE = "unreachable"
NODE_ERROR = "node-error"

FIRST_PAUSE_S = 0.02
LONGEST_PAUSE_S = 1.0


@dataclass(frozen=True)
class Reply:
    """What became of one question.

    Attributes:
        node: the node that was asked.
        code: `answered`, `late`, `busy` (still owes an earlier answer), `unreachable` or `node-error-<Flower's code>`.
        content: the answer; None unless answered.
        seconds: from the question until now.
    """

    node: int
    code: str
    content: RecordDict | None
    seconds: float


class Exchange:
    """Talks to nodes over a Flower grid; remembers which of them still owe an answer."""

    def __init__(self, grid: Grid) -> None:
        self._grid = grid
        self._owed: dict[str, int] = {}

    def nodes(self) -> tuple[int, ...]:
        """Return the nodes that are online, sorted."""
        return tuple(sorted(self._grid.get_node_ids()))

    def ask(
        self, contents: Mapping[int, RecordDict], message_type: str, group: str, deadline_s: float
    ) -> Iterator[Reply]:
        """Send each node its content and yield each reply as it arrives; the rest as `late` once the deadline is over.

        Late answers to earlier questions are taken in, so that their node is free again, and thrown away.
        """
        started = time.monotonic()
        self._take_in()
        waiting: dict[str, int] = {}
        for node in sorted(contents):
            code = self._send(node, contents[node], message_type, group, deadline_s, waiting)
            if code is not None:
                yield Reply(node, code, None, 0.0)
        pause_s = FIRST_PAUSE_S
        while waiting and time.monotonic() - started < deadline_s:
            arrived = [message for message in self._take_in() if message.metadata.reply_to_message_id in waiting]
            for message in arrived:
                node = waiting.pop(message.metadata.reply_to_message_id)
                yield _reply(node, message, time.monotonic() - started)
            pause_s = FIRST_PAUSE_S if arrived else min(2 * pause_s, LONGEST_PAUSE_S)
            if waiting and not arrived:
                time.sleep(pause_s)
        for node in sorted(waiting.values()):
            yield Reply(node, LATE, None, time.monotonic() - started)

    def _send(
        self,
        node: int,
        content: RecordDict,
        message_type: str,
        group: str,
        deadline_s: float,
        waiting: dict[str, int],
    ) -> str | None:
        """Send one message; return a code where it could not be sent."""
        if node in self._owed.values():
            return BUSY
        message = Message(content, node, message_type, ttl=deadline_s, group_id=group)
        identifiers = [identifier for identifier in self._grid.push_messages([message]) if identifier]
        if not identifiers:
            return UNREACHABLE
        self._owed[identifiers[0]] = node
        waiting[identifiers[0]] = node
        return None

    def _take_in(self) -> list[Message]:
        """Pull what has arrived and strike it off the list of what is owed."""
        if not self._owed:
            return []
        messages = list(self._grid.pull_messages(list(self._owed)))
        for message in messages:
            self._owed.pop(message.metadata.reply_to_message_id, None)
        return messages


def _reply(node: int, message: Message, seconds: float) -> Reply:
    if message.has_error():
        return Reply(node, f"{NODE_ERROR}-{message.error.code}", None, seconds)
    return Reply(node, ANSWERED, message.content, seconds)
