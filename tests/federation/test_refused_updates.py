"""An update that the gate refuses leaves no trace in the bytes: the run ends as if that site had sent nothing."""

from __future__ import annotations

import copy
import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from types import SimpleNamespace

import pytest
import torch
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, RecordDict

from common.parcel import unwrap, wrap
from common.records import ANSWER, RAW, UPDATE, Answer, pack_text
from common.sequences import Sequence
from server.journal.journal import FILE
from server.result import RunResult
from simulations.grid import InProcessGrid

T1, T2 = Sequence.T1, Sequence.T2
Spoil = Callable[[RecordDict], RecordDict]


def changed(content: RecordDict, name: str, change: Callable[[torch.Tensor], torch.Tensor]) -> RecordDict:
    """Return the answer with one tensor changed."""
    arrays = dict(content[UPDATE].items())
    array = arrays[name]
    tensor = change(torch.frombuffer(bytearray(array.data), dtype=torch.float32).reshape(tuple(array.shape)))
    arrays[name] = Array("float32", tuple(tensor.shape), RAW, tensor.contiguous().numpy().tobytes())
    return RecordDict({**content, UPDATE: ArrayRecord(arrays)})


def a_hundredfold(content: RecordDict) -> RecordDict:
    for name in list(content[UPDATE]):
        content = changed(content, name, lambda tensor: tensor * 100)
    return content


def oversized(content: RecordDict) -> RecordDict:
    arrays = dict(content[UPDATE].items())
    arrays["trunk.weight"] = Array("float32", (1, 1), RAW, bytes(4096))
    return RecordDict({**content, UPDATE: ArrayRecord(arrays)})


class Replay:
    """Sends the first update again and again."""

    def __init__(self) -> None:
        self.first: RecordDict | None = None

    def __call__(self, content: RecordDict) -> RecordDict:
        if self.first is None:
            self.first = copy.deepcopy(content)
            return silent(content)  # in the first round it would be no replay
        return copy.deepcopy(self.first)


def silent(content: RecordDict) -> RecordDict:
    return RecordDict({ANSWER: pack_text(Answer(site="d", code="data"))})


SPOILT: dict[str, Callable[[], Spoil]] = {
    "not-finite": lambda: lambda c: changed(c, "trunk.weight", lambda tensor: tensor * float("nan")),
    "wrong-shape": lambda: lambda c: changed(c, "trunk.weight", lambda tensor: tensor.reshape(1)),
    "wrong-size": lambda: oversized,
    "large-norm": lambda: a_hundredfold,
    "replayed": Replay,
}


@pytest.fixture
def play(tiny: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, Spoil], RunResult]:
    """Return a function that runs four sites of which `d` spoils what it sends."""
    for number, name in enumerate("abcd"):
        tiny.consortium.add(name, 2 + number % 2, [T1, T2] if number % 2 else [T2], shift=0.1 * number)
    deliver = InProcessGrid._deliver

    def run(where: str, spoil: Spoil) -> RunResult:
        def hostile(grid: InProcessGrid, message: Message) -> Message:
            reply = deliver(grid, message)
            content = unwrap(reply.content)
            record = content.get(ANSWER)
            said = json.loads(str(record["json"])) if isinstance(record, ConfigRecord) else {}
            if said.get("site") == "d" and UPDATE in content:
                reply.content = wrap(spoil(content))
            return reply

        monkeypatch.setattr(InProcessGrid, "_deliver", hostile)
        for state in tiny.consortium.root.glob("sites/*/work/state"):
            state.rename(state.with_name(f"state-before-{where}"))
        result: RunResult = tiny.consortium.run(tiny.make_study(["a", "b", "c", "d"]), where=where)
        return result

    return run


@pytest.mark.parametrize("code", SPOILT)
def test_a_refused_site_is_named_and_the_release_is_that_of_a_run_without_it(
    code: str, play: Callable[[str, Spoil], RunResult]
) -> None:
    without, spoilt = play("without", silent), play("spoilt", SPOILT[code]())
    assert spoilt.status == "complete" and spoilt.release_digest == without.release_digest
    expected = ["data", "replayed", "replayed"] if code == "replayed" else [code] * 3
    assert [(fault.site, fault.code) for fault in spoilt.faults] == [("d", each) for each in expected]
    (_, _, last) = [json.loads(line) for line in (spoilt.out / "metrics.jsonl").read_text().splitlines()]
    refusal = last["sites"]["d"]["refusal"]
    assert refusal and ("d " in refusal or "trunk.weight" in refusal)
    with closing(sqlite3.connect(spoilt.out / FILE)) as journal:
        accepted = [site for (site,) in journal.execute("SELECT DISTINCT site FROM updates ORDER BY site")]
    assert accepted == ["a", "b", "c"]


def test_an_honest_site_of_the_same_consortium_does_count(play: Callable[[str, Spoil], RunResult]) -> None:
    without, honest = play("without", silent), play("honest", lambda content: content)
    assert honest.faults == () and honest.release_digest != without.release_digest
