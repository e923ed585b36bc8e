"""The roll call: who is taken onto the roster, and what is said of the others."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import pytest
from flwr.app import ConfigRecord, Message, RecordDict
from flwr.clientapp import ClientApp

from common.plan import SiteInventory
from common.records import ANSWER, Answer, pack_text
from common.sequences import Sequence
from server.exchange import Exchange
from server.roster import Roster, call_roll
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
    return call_roll(Exchange(grid), tiny.make_study(federation=federation))


def test_members_stand_in_sorted_order_with_their_nodes(tiny: SimpleNamespace) -> None:
    roster = roll(tiny, {2: Answer(site="b", inventory=inventory("b")), 3: Answer(site="a", inventory=inventory("a"))})
    assert list(roster.members) == ["a", "b"] and roster.faults == ()
    assert roster.site_of(2) == "b"


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (Answer(site="b", code="policy"), "policy"),
        (Answer(site="b"), "malformed-inventory"),
        (Answer(site="b", inventory=inventory("a")), "malformed-inventory"),
        (Answer(site="b", inventory=inventory("b", Sequence.ADC)), "malformed-inventory"),
        (Answer(site="stranger", inventory=inventory("stranger")), "no-answer"),
        (RecordDict({ANSWER: ConfigRecord({"json": "{}"})}), "no-answer"),
        (RecordDict(), "no-answer"),
    ],
)
def test_a_site_that_does_not_answer_well_is_named(tiny: SimpleNamespace, answer: Any, code: str) -> None:
    roster = roll(tiny, {2: Answer(site="a", inventory=inventory("a")), 3: answer})
    assert list(roster.members) == ["a"]
    assert [(fault.site, fault.code) for fault in roster.faults] == [("b", code)]


def test_a_name_that_two_nodes_claim_belongs_to_neither(tiny: SimpleNamespace) -> None:
    claim = Answer(site="b", inventory=inventory("b"))
    roster = roll(tiny, {2: Answer(site="a", inventory=inventory("a")), 3: claim, 4: claim})
    assert list(roster.members) == ["a"]
    assert [(fault.site, fault.code) for fault in roster.faults] == [("b", "named-by-two-nodes")]


def test_the_roll_call_waits_for_nodes_no_longer_than_the_deadline(tiny: SimpleNamespace) -> None:
    roster = roll(tiny, {2: Answer(site="a", inventory=inventory("a"))}, federation="deadline_s = 0.15")
    assert list(roster.members) == ["a"] and roster.faults[0].code == "no-answer"
