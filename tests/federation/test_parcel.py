"""What is wrapped for the way is what is unwrapped; a parcel that lies is refused."""

from __future__ import annotations

import pytest
import torch
from flwr.app import Array, ArrayRecord, ConfigRecord, MetricRecord, RecordDict

from common.parcel import BYTES, INDEX, PARCEL, Wrapper, unwrap, wrap
from common.records import RAW, WireError, pack_tensors, size_bytes, unpack_tensors
from common.records import declare as declared_of

STATE = {"head.weight": torch.arange(6.0).reshape(2, 3), "count": torch.tensor(3), "empty": torch.zeros(0)}


def content() -> RecordDict:
    half = {"w": torch.ones(2, dtype=torch.bfloat16)}
    return RecordDict(
        {
            "global": pack_tensors(STATE),
            "update": pack_tensors(half),
            "task": ConfigRecord({"json": "{}"}),
            "metrics": MetricRecord({"training.loss": 0.5}),
        }
    )


def with_index(text: str) -> RecordDict:
    wrapped = wrap(content())
    wrapped[INDEX] = ConfigRecord({"json": text})
    return wrapped


def test_a_wrapped_content_comes_back_as_it_was() -> None:
    before = content()
    after = unwrap(wrap(content()))
    assert set(after) == set(before)
    assert all(after[key] == before[key] for key in before)
    assert size_bytes(after) == size_bytes(before)
    tensors = unpack_tensors(after["global"], declared_of(STATE))
    assert all(torch.equal(tensors[name], STATE[name]) for name in STATE)


def test_all_arrays_travel_as_one() -> None:
    arrays = [array for record in wrap(content()).values() if isinstance(record, ArrayRecord) for array in record]
    assert arrays == [BYTES]


def test_contents_in_a_row_that_hold_the_same_arrays_share_one_parcel() -> None:
    wrapper, tensors = Wrapper(), pack_tensors(STATE)
    first, second = (
        wrapper(RecordDict({"global": tensors, "task": ConfigRecord({"json": text})})) for text in ("1", "2")
    )
    other = wrapper(RecordDict({"global": pack_tensors(STATE)}))
    assert first[PARCEL][BYTES].data is second[PARCEL][BYTES].data
    assert (first["task"]["json"], second["task"]["json"]) == ("1", "2")
    assert other[PARCEL][BYTES].data is not first[PARCEL][BYTES].data


def test_a_content_without_arrays_is_left_alone() -> None:
    bare = RecordDict({"task": ConfigRecord({"json": "{}"})})
    assert wrap(bare) is bare
    assert unwrap(bare) is bare


def test_an_unwrapped_content_may_come_too() -> None:
    assert set(unwrap(content())) == set(content())


@pytest.mark.parametrize(
    "text",
    [
        "no json",
        '{"records": {}}',
        '{"records": {"global": [{"name": "w", "dtype": "float32", "shape": [1], "form": "x", "size": -4}]}}',
        '{"records": {"global": [{"name": "w", "dtype": "float32", "shape": [1], "form": "x", "size": 4}]}}',
    ],
)
def test_an_index_that_does_not_fit_its_bytes_is_refused(text: str) -> None:
    with pytest.raises(WireError):
        unwrap(with_index(text))


def test_an_index_that_names_a_record_twice_is_refused() -> None:
    wrapped = wrap(content())
    wrapped["global"] = ConfigRecord({"json": "{}"})
    with pytest.raises(WireError, match="twice"):
        unwrap(wrapped)


def test_bytes_without_an_index_are_refused() -> None:
    parcel = ArrayRecord({BYTES: Array(dtype="uint8", shape=(1,), stype=RAW, data=b"x")})
    with pytest.raises(WireError):
        unwrap(RecordDict({PARCEL: parcel}))
