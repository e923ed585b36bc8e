"""The roll call: who is taken onto the roster, and what is said of the others."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import SimpleNamespace
from typing import Any

import pytest
from flwr.app import ConfigRecord, Message, RecordDict
from flwr.clientapp import ClientApp

from common import roster_file
from common.errors import StudyError
from common.plan import SiteInventory
from common.records import ANSWER, Answer, pack_text
from common.sequences import Sequence
from server.exchange import Exchange
from server.roster import Roster, admitted_nodes, call_roll
from simulations.grid import InProcessGrid, VirtualNode


def inventory(site: str, *sequences: Sequence) -> SiteInventory:
    return SiteInventory(site=site, training_patients=3, sequences=dict.fromkeys(sequences or (Sequence.T1,), 3))


def answering(content: RecordDict) -> VirtualNode:
    app = ClientApp()

    @app.query()
    def query(message: Message, context: Any) -> Message:
        return Message(content, reply_to=message)

    return VirtualNode(app, {})


def roll(tiny: SimpleNamespace, answers: Mapping[int, Answer | RecordDict], federation: str = "") -> Roster:
    contents = {
        node: answer if isinstance(answer, RecordDict) else RecordDict({ANSWER: pack_text(answer)})
        for node, answer in answers.items()
    }
    grid = InProcessGrid({node: answering(content) for node, content in contents.items()})
    return call_roll(Exchange(grid), tiny.make_study(federation=federation), {"a": 2, "b": 3})


def test_members_stand_in_sorted_order_with_their_nodes(tiny: SimpleNamespace) -> None:
    roster = roll(tiny, {3: Answer(site="b", inventory=inventory("b")), 2: Answer(site="a", inventory=inventory("a"))})
    assert list(roster.members) == ["a", "b"] and roster.faults == ()
    assert roster.members["b"].node == 3


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (Answer(site="b", code="policy"), "policy"),
        (Answer(site="b"), "malformed-inventory"),
        (Answer(site="b", inventory=inventory("a")), "malformed-inventory"),
        (Answer(site="b", inventory=inventory("b", Sequence.ADC)), "malformed-inventory"),
        (Answer(site="stranger", inventory=inventory("stranger")), "wrong-site"),
        (RecordDict({ANSWER: ConfigRecord({"json": "{}"})}), "malformed"),
        (RecordDict(), "malformed"),
    ],
)
def test_a_site_that_does_not_answer_well_is_named(tiny: SimpleNamespace, answer: Any, code: str) -> None:
    roster = roll(tiny, {2: Answer(site="a", inventory=inventory("a")), 3: answer})
    assert list(roster.members) == ["a"]
    assert [(fault.site, fault.code) for fault in roster.faults] == [("b", code)]


def test_a_node_that_is_not_on_the_roster_is_never_spoken_to(tiny: SimpleNamespace) -> None:
    spoken: list[int] = []

    class Listening(InProcessGrid):
        def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
            sent = list(messages)
            spoken.extend(message.metadata.dst_node_id for message in sent)
            return super().push_messages(sent)

    content = RecordDict({ANSWER: pack_text(Answer(site="a", inventory=inventory("a")))})
    grid = Listening({node: answering(content) for node in (2, 3, 4)})
    roster = call_roll(Exchange(grid), tiny.make_study(), {"a": 2, "b": 3})
    assert spoken == [2, 3]
    assert [(fault.site, fault.code) for fault in roster.faults] == [("b", "wrong-site")]


def test_a_site_that_was_never_admitted_is_named_before_anything_is_sent(tiny: SimpleNamespace) -> None:
    admitted = roster_file.Roster(sites={"a": roster_file.RosterSite(node=2)})
    with pytest.raises(StudyError, match="the roster lacks b"):
        admitted_nodes(tiny.make_study(), admitted)
    assert admitted_nodes(tiny.make_study(["a"]), admitted) == {"a": 2}


def test_the_roll_call_waits_for_an_absent_site_no_longer_than_the_deadline(tiny: SimpleNamespace) -> None:
    class Without(InProcessGrid):
        def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
            sent = list(messages)
            return super().push_messages(sent) if sent[0].metadata.dst_node_id == 2 else [""]

        def get_node_ids(self) -> Iterable[int]:
            return [2]

    grid = Without({2: answering(RecordDict({ANSWER: pack_text(Answer(site="a", inventory=inventory("a")))}))})
    roster = call_roll(Exchange(grid), tiny.make_study(federation="deadline_s = 0.15"), {"a": 2, "b": 3})
    assert list(roster.members) == ["a"]
    assert [(fault.site, fault.code) for fault in roster.faults] == [("b", "unreachable")]
