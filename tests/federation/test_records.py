"""The wire contract: tensors and facts survive the way, and what is not as declared is refused with a code."""

from __future__ import annotations

import pytest
import torch
from flwr.app import Array, ArrayRecord, ConfigRecord, MetricRecord, RecordDict

from common.records import (
    ANSWER,
    METRICS,
    RAW,
    Answer,
    Declared,
    WireError,
    declare,
    pack_tensors,
    pack_text,
    read_metrics,
    read_text,
    size_bytes,
    unpack_tensors,
)

STATE = {
    "matrix": torch.arange(6, dtype=torch.float32).reshape(2, 3).t(),
    "scalar": torch.tensor(2.5, dtype=torch.float64),
    "half": torch.tensor([1.5, -2.0], dtype=torch.bfloat16),
    "count": torch.tensor(7),
    "flag": torch.tensor([True, False]),
    "empty": torch.zeros(0, 4),
}


def test_tensors_of_every_kind_come_back_as_they_went() -> None:
    back = unpack_tensors(pack_tensors(STATE), declare(STATE))
    assert set(back) == set(STATE)
    for name, tensor in STATE.items():
        assert back[name].dtype == tensor.dtype and torch.equal(back[name], tensor)


def test_bytes_are_counted_without_any_wrapping() -> None:
    content = RecordDict(
        {
            "update": pack_tensors({"w": torch.zeros(10)}),
            "m": MetricRecord({"a": 1.0}),
            "t": ConfigRecord({"json": "abc"}),
        }
    )
    assert size_bytes(content) == 40 + 8 + 3


@pytest.mark.parametrize(
    ("code", "array"),
    [
        ("wrong-shape", Array(dtype="float32", shape=(3,), stype=RAW, data=b"\0" * 12)),
        ("wrong-dtype", Array(dtype="float64", shape=(2,), stype=RAW, data=b"\0" * 16)),
        ("wrong-dtype", Array(dtype="float32", shape=(2,), stype="numpy.ndarray", data=b"\0" * 8)),
        ("wrong-size", Array(dtype="float32", shape=(2,), stype=RAW, data=b"\0" * 800)),
    ],
)
def test_an_array_that_is_not_as_declared_is_refused(code: str, array: Array) -> None:
    with pytest.raises(WireError) as refusal:
        unpack_tensors(ArrayRecord({"w": array}), {"w": Declared("float32", (2,))})
    assert refusal.value.code == code


def test_missing_and_additional_tensors_are_refused() -> None:
    declared = {"w": Declared("float32", (2,))}
    for tensors, code in (({}, "missing-tensor"), ({"w": torch.zeros(2), "v": torch.zeros(2)}, "unknown-tensor")):
        with pytest.raises(WireError) as refusal:
            unpack_tensors(pack_tensors(tensors), declared)
        assert refusal.value.code == code


@pytest.mark.parametrize(
    "text", ["no json", "{}", '{"site": "a", "extra": 1}', '{"site": "../a"}', '{"site": "a", "code": "a path/x"}']
)
def test_an_answer_that_is_not_as_the_contract_says_is_malformed(text: str) -> None:
    with pytest.raises(WireError) as refusal:
        read_text(RecordDict({ANSWER: ConfigRecord({"json": text})}), ANSWER, Answer)
    assert refusal.value.code == "malformed"


def test_an_answer_comes_back_as_it_went() -> None:
    answer = Answer(site="a", patients={"shared": 3}, withheld=("training.loss",))
    assert read_text(RecordDict({ANSWER: pack_text(answer)}), ANSWER, Answer) == answer


@pytest.mark.parametrize("metrics", [{"training.loss": float("nan")}, {"/home/x": 1.0}, {"training.loss": [1.0]}])
def test_metrics_of_unknown_name_or_broken_value_are_malformed(metrics: dict[str, float]) -> None:
    with pytest.raises(WireError):
        read_metrics(RecordDict({METRICS: MetricRecord(metrics)}))
