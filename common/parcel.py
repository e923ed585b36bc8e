"""A message's arrays in one parcel, for the way.

Flower moves every array as two objects of their own, each over several requests on each of two hops: 266 small tensors
cost it a minute a round where one array of all their bytes costs a second. So a content is wrapped as it leaves, and
unwrapped, every size checked, before anybody looks at it.
"""

from __future__ import annotations

from typing import Annotated

from flwr.app import Array, ArrayRecord, ConfigRecord, RecordDict
from pydantic import Field

from common.records import RAW, WireError, arrays_of, pack_text, read_text
from common.settings.frozen import Frozen

PARCEL = "parcel"
INDEX = "parcel-index"
BYTES = "bytes"

Text = Annotated[str, Field(max_length=512)]
Extent = Annotated[int, Field(ge=0, lt=2**40)]


class Part(Frozen):
    """One array of the parcel: what Flower says of it, and how many of the parcel's bytes are its own."""

    name: Text
    dtype: Text
    shape: Annotated[tuple[Extent, ...], Field(max_length=16)]
    form: Text
    size: Extent


class Index(Frozen):
    """The parts of the parcel, in the order of their bytes, by the record to which they belong."""

    records: dict[Text, tuple[Part, ...]]


class Wrapper:
    """Wraps one content after another; those in a row that hold the same arrays share one parcel.

    So what two hundred sites are sent is in memory once.
    """

    def __init__(self) -> None:
        self._last: list[tuple[str, str, bytes]] = []
        self._parcel: dict[str, ConfigRecord | ArrayRecord] = {}

    def __call__(self, content: RecordDict) -> RecordDict:
        """Return `content` with the bytes of all its arrays in one; without arrays it is returned as it is."""
        arrays = {key: record for key, record in content.items() if isinstance(record, ArrayRecord)}
        if not arrays:
            return content
        held = [(key, name, array.data) for key, record in arrays.items() for name, array in record.items()]
        if not _same(held, self._last):
            self._last, self._parcel = held, _packed(arrays)
        rest = {key: record for key, record in content.items() if key not in arrays}
        return RecordDict({**rest, **self._parcel})


def wrap(content: RecordDict) -> RecordDict:
    """Return `content` with the bytes of all its arrays in one; a content without arrays is returned as it is."""
    return Wrapper()(content)


def _same(these: list[tuple[str, str, bytes]], those: list[tuple[str, str, bytes]]) -> bool:
    """Return whether two lists of arrays name the same bytes, the very objects, in the same order."""
    return len(these) == len(those) and all(
        key == other_key and name == other_name and data is other_data
        for (key, name, data), (other_key, other_name, other_data) in zip(these, those, strict=True)
    )


def _packed(arrays: dict[str, ArrayRecord]) -> dict[str, ConfigRecord | ArrayRecord]:
    """Return index and parcel."""
    parts = {
        key: tuple(
            Part(name=name, dtype=array.dtype, shape=tuple(array.shape), form=array.stype, size=len(array.data))
            for name, array in record.items()
        )
        for key, record in arrays.items()
    }
    blob = b"".join(array.data for record in arrays.values() for array in record.values())
    parcel = Array(dtype="uint8", shape=(len(blob),), stype=RAW, data=blob)
    return {INDEX: pack_text(Index(records=parts)), PARCEL: ArrayRecord({BYTES: parcel})}


def unwrap(content: RecordDict) -> RecordDict:
    """Return the content that was wrapped; one that was not is returned as it is.

    Raises:
        WireError: `malformed` where index and bytes do not fit each other.
    """
    if INDEX not in content and PARCEL not in content:
        return content
    index = read_text(content, INDEX, Index)
    parcel = arrays_of(content, PARCEL)
    if list(parcel) != [BYTES]:
        raise WireError("malformed", "a parcel is one array of bytes")
    data, start = parcel[BYTES].data, 0
    if sum(part.size for parts in index.records.values() for part in parts) != len(data):
        raise WireError("malformed", f"the parcel holds {len(data)} bytes, and its index promises others")
    records: dict[str, ArrayRecord | ConfigRecord] = {}
    for key, parts in index.records.items():
        arrays: dict[str, Array] = {}
        for part in parts:
            view = data[start : start + part.size]
            arrays[part.name] = Array(dtype=part.dtype, shape=part.shape, stype=part.form, data=view)
            start += part.size
        if len(arrays) != len(parts) or key in content:
            raise WireError("malformed", "the parcel's index names something twice")
        records[key] = ArrayRecord(arrays)
    rest = {key: record for key, record in content.items() if key not in (INDEX, PARCEL)}
    return RecordDict({**rest, **records})
