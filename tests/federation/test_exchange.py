"""Deadlines and the busy set, on the in-process grid and on one that answers when a test says so."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from flwr.app import ConfigRecord, Error, Message, RecordDict

from common.records import ANSWER, OUTSIDE_HOURS, Answer, pack_text
from server.exchange import TRIES, Exchange, Patience
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


def test_an_error_of_a_node_is_named_by_its_number_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("server.exchange.RETRY_PAUSE_S", 0.0)
    grid = SlowGrid(set(), failing={4})
    assert ask(Exchange(grid), deadline_s=5.0)[4] == "node-error-8"
    assert grid.pushed.count(4) == TRIES and grid.pushed.count(2) == 1


def test_a_node_whose_app_died_once_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("server.exchange.RETRY_PAUSE_S", 0.0)
    grid = SlowGrid(set(), failing={4})
    answer = grid._answer

    def once(message: Message) -> Message:
        reply = answer(message)
        grid.failing = grid.failing if not reply.has_error() else set()
        return reply

    grid._answer = once
    assert ask(Exchange(grid), deadline_s=5.0)[4] == "answered" and grid.pushed.count(4) == 2


def test_an_error_of_our_own_app_is_final() -> None:
    class Raising(SlowGrid):
        def _answer(self, message: Message) -> Message:
            return Message(Error(2, "text"), reply_to=message)

    grid = Raising(set())
    assert set(ask(Exchange(grid), deadline_s=5.0).values()) == {"node-error-2"} and len(grid.pushed) == 3


class AbsentGrid(SlowGrid):
    """Node 3 is away until it is called back; Flower takes no message for it."""

    away = True

    def get_node_ids(self) -> Iterable[int]:
        return [node for node in (2, 3, 4) if not (self.away and node == 3)]

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        (message,) = messages
        return [None] if self.away and message.metadata.dst_node_id == 3 else super().push_messages([message])


def ask_all(grid: SlowGrid, patience: Patience, deadline_s: float = 5.0) -> dict[int, str]:
    contents = {node: RecordDict() for node in (2, 3, 4)}
    return {reply.node: reply.code for reply in Exchange(grid).ask(contents, "train", "1", deadline_s, patience)}


def test_a_node_that_comes_back_is_asked_then(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("server.exchange.LONGEST_PAUSE_S", 0.01)
    grid = AbsentGrid(set())
    calls = iter(range(100))

    def back_later() -> bool:
        grid.away = next(calls) < 5
        return False

    assert ask_all(grid, Patience(satisfied=back_later)) == {2: "answered", 3: "answered", 4: "answered"}


def test_an_absent_node_is_not_waited_for_once_the_others_suffice() -> None:
    assert ask_all(AbsentGrid(set()), Patience()) == {2: "answered", 3: "unreachable", 4: "answered"}


def test_an_absent_node_is_waited_for_while_the_others_do_not_suffice() -> None:
    patience = Patience(satisfied=lambda: False)
    assert ask_all(AbsentGrid(set()), patience, deadline_s=0.2)[3] == "unreachable"


def test_an_absent_node_that_was_given_up_is_not_waited_for_at_all() -> None:
    patient = Patience(absence_s=1000.0)
    assert ask_all(AbsentGrid(set()), patient, deadline_s=0.2)[3] == "unreachable"  # after the deadline
    grid = AbsentGrid(set())
    assert ask_all(grid, Patience(absence_s=1000.0, given_up=frozenset({3})), deadline_s=1000.0)[3] == "unreachable"


def test_a_late_answer_is_heard_of_with_its_node_and_question() -> None:
    grid, late = SlowGrid({3}), []
    exchange = Exchange(grid, on_late=lambda node, group: late.append((node, group)))
    ask(exchange)
    grid.slow = set()
    ask(exchange)
    assert late == [(3, "1")]


def test_a_node_whose_answer_asks_for_more_is_asked_again_at_once_while_another_is_silent() -> None:
    grid, more = SlowGrid({3}), RecordDict({"more": ConfigRecord()})
    replies = Exchange(grid).ask(
        {2: RecordDict(), 3: RecordDict()}, "train", "1", 3.0, again=lambda reply: more if reply.node == 2 else None
    )
    first = next(replies)
    assert (first.node, first.code) == (2, "answered") and first.seconds < 1.0
    assert grid.pushed == [2, 3, 2]  # its second answer is final, whatever it says
    grid.slow = set()
    assert [(reply.node, reply.code) for reply in replies] == [(3, "answered")]


def test_a_message_that_must_be_told_goes_behind_one_that_is_owed() -> None:
    grid = SlowGrid({3})
    exchange = Exchange(grid)
    ask(exchange)
    assert set(exchange.tell({2: RecordDict(), 3: RecordDict()}, "query.stop", "stop", 0.05)) == {2}
    assert grid.pushed.count(3) == 2


def test_a_message_that_expired_is_not_delivered_in_process() -> None:
    grid = InProcessGrid({2: None})
    (identifier,) = grid.push_messages([Message(RecordDict(), 2, "train", ttl=-1.0)])
    (reply,) = grid.pull_messages([identifier])
    assert reply.has_error()


def closed_at_first(times: int) -> type[SlowGrid]:
    """A grid whose node 4 says `outside-hours` so many times."""

    class ClosedGrid(SlowGrid):
        refused = 0

        def _answer(self, message: Message) -> Message:
            if message.metadata.dst_node_id == 4 and self.refused < times:
                self.refused += 1
                answer = pack_text(Answer(site="d", code=OUTSIDE_HOURS))
                return Message(RecordDict({ANSWER: answer}), reply_to=message)
            return super()._answer(message)

    return ClosedGrid


def test_a_site_outside_its_hours_is_asked_again_until_it_may_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("server.exchange.HOURS_PAUSE_S", 0.01)
    grid = closed_at_first(2)(set())
    assert ask_all(grid, Patience(absence_s=5.0)) == dict.fromkeys((2, 3, 4), "answered")
    assert grid.pushed.count(4) == 3


def test_a_site_outside_its_hours_is_not_waited_for_once_the_others_suffice() -> None:
    grid = closed_at_first(1)(set())
    assert ask_all(grid, Patience()) == {2: "answered", 3: "answered", 4: "outside-hours"}
