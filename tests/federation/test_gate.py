"""The gate: what a site may send, and each way to be refused, by a code that names it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from flwr.app import MetricRecord, RecordDict

from common.parameters import Grouping, StateDict
from common.records import ANSWER, METRICS, UPDATE, Answer, RoundKey, WireError, declare, pack_tensors, pack_text
from common.settings.stages import Stage
from server.gate import Accepted, Gate

STATE = {
    "trunk": torch.zeros(2),
    "heads.a:T1.w": torch.zeros(1),
    "heads.b:T1.w": torch.zeros(1),
    "private.w": torch.zeros(1),
    "seen": torch.tensor(0),
}
OF_A = frozenset({"shared", "domain/a:T1"})
GATE = Gate(declare(STATE), {"a": OF_A, "b": frozenset({"shared", "domain/b:T1"})}, Grouping(("private.",)))
KEY = RoundKey("1" * 16, Stage.GENERATOR, 3, "2" * 64)
PATIENTS = {"shared": 2, "domain/a:T1": 2}


def content(tensors: StateDict, patients: dict[str, int] = PATIENTS, site: str = "a", **key: Any) -> RecordDict:
    answer = Answer(site=site, patients=patients, **(vars(KEY) | key))
    return RecordDict(
        {ANSWER: pack_text(answer), UPDATE: pack_tensors(tensors), METRICS: MetricRecord({"training.loss": 0.5})}
    )


def good() -> StateDict:
    return {"trunk": torch.ones(2), "heads.a:T1.w": torch.ones(1)}


def test_an_update_of_the_sites_own_groups_passes() -> None:
    accepted = GATE.admit("a", content(good()), KEY)
    assert isinstance(accepted, Accepted)
    assert sorted(accepted.tensors) == ["heads.a:T1.w", "trunk"]
    assert accepted.metrics == {"training.loss": 0.5}


def test_a_site_may_send_fewer_groups_but_each_of_them_whole() -> None:
    accepted = GATE.admit("a", content({"trunk": torch.ones(2)}, {"shared": 2}), KEY)
    assert isinstance(accepted, Accepted)


@pytest.mark.parametrize(
    ("code", "spoil"),
    [
        ("not-finite", lambda: content(good() | {"trunk": torch.tensor([1.0, float("nan")])})),
        ("not-finite", lambda: content(good() | {"trunk": torch.tensor([1.0, float("inf")])})),
        ("wrong-shape", lambda: content(good() | {"trunk": torch.ones(3)})),
        ("wrong-dtype", lambda: content(good() | {"trunk": torch.ones(2, dtype=torch.float64)})),
        ("missing-tensor", lambda: content({"trunk": torch.ones(2)})),
        ("unknown-tensor", lambda: content(good() | {"more": torch.ones(1)})),
        ("unknown-tensor", lambda: content(good() | {"seen": torch.tensor(4)})),
        ("unknown-tensor", lambda: content(good() | {"private.w": torch.ones(1)})),
        ("unknown-tensor", lambda: content(good() | {"heads.b:T1.w": torch.ones(1)})),
        ("foreign-group", lambda: content(good() | {"heads.b:T1.w": torch.ones(1)}, PATIENTS | {"domain/b:T1": 2})),
        ("foreign-group", lambda: content(good() | {"private.w": torch.ones(1)}, PATIENTS | {"local": 2})),
        ("replayed", lambda: content(good(), run="9" * 16)),
        ("replayed", lambda: content(good(), stage=Stage.SEGMENTER)),
        ("replayed", lambda: content(good(), round=2)),
        ("replayed", lambda: content(good(), global_sha256="3" * 64)),
        ("replayed", lambda: content(good(), global_sha256=None)),
        ("wrong-site", lambda: content(good(), site="b")),
        ("malformed", lambda: RecordDict({ANSWER: pack_text(Answer(site="a", patients=PATIENTS, **vars(KEY)))})),
        ("malformed", lambda: RecordDict()),
    ],
)
def test_a_wrong_update_is_refused_with_a_code_that_names_why(code: str, spoil: Callable[[], RecordDict]) -> None:
    with pytest.raises(WireError) as refusal:
        GATE.admit("a", spoil(), KEY)
    assert refusal.value.code == code


def test_a_site_that_says_why_it_sends_nothing_is_heard() -> None:
    assert (
        GATE.admit("a", RecordDict({ANSWER: pack_text(Answer(site="a", code="nothing-to-train"))}), KEY)
        == "nothing-to-train"
    )
    assert GATE.admit("a", RecordDict({ANSWER: pack_text(Answer(site="a"))}), KEY) == "nothing-may-leave"
