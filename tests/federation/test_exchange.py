"""Deadlines and the busy set, on the in-process grid and on one that answers when a test says so."""

from __future__ import annotations

from collections.abc import Iterable

from flwr.app import Error, Message, RecordDict

from server.exchange import Exchange
from simulations.grid import InProcessGrid


class SlowGrid(InProcessGrid):
    """Holds back the answers of some nodes until they are let go."""

    def __init__(self, slow: set[int], failing: set[int] = frozenset()) -> None:
        super().__init__(dict.fromkeys((2, 3, 4)))
        self.slow, self.failing, self.pushed = slow, failing, []

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        sent = list(messages)
        self.pushed += [message.metadata.dst_node_id for message in sent]
        return super().push_messages(sent)

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        found = []
        for identifier in message_ids:
            message = self._waiting.get(identifier)
            if message is not None and message.metadata.dst_node_id not in self.slow:
                del self._waiting[identifier]
                found.append(self._answer(message))
        return found

    def _answer(self, message: Message) -> Message:
        if message.metadata.dst_node_id in self.failing:
            return Message(Error(8, "crashed with a path"), reply_to=message)
        return Message(RecordDict(), reply_to=message)


def ask(exchange: Exchange, deadline_s: float = 0.05) -> dict[int, str]:
    contents = {node: RecordDict() for node in exchange.nodes()}
    return {reply.node: reply.code for reply in exchange.ask(contents, "train", "1", deadline_s)}


def test_a_node_that_does_not_answer_in_time_is_late_and_others_count() -> None:
    assert ask(Exchange(SlowGrid({3}))) == {2: "answered", 4: "answered", 3: "late"}


def test_a_node_that_owes_an_answer_is_sent_nothing_until_it_has_answered() -> None:
    grid = SlowGrid({3})
    exchange = Exchange(grid)
    ask(exchange)
    assert ask(exchange)[3] == "busy"
    grid.slow = set()
    assert ask(exchange) == {2: "answered", 3: "answered", 4: "answered"}
    assert grid.pushed.count(3) == 2  # the late answer to the first question was thrown away, not counted


def test_an_error_of_a_node_is_named_by_its_number_alone() -> None:
    assert ask(Exchange(SlowGrid(set(), failing={4})))[4] == "node-error-8"


def test_a_message_that_expired_is_not_delivered_in_process() -> None:
    grid = InProcessGrid({2: None})
    (identifier,) = grid.push_messages([Message(RecordDict(), 2, "train", ttl=-1.0)])
    (reply,) = grid.pull_messages([identifier])
    assert reply.has_error()
