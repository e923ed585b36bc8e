"""Masked numbers on the wire: one array of 32-bit words a parameter group, checked in size before a byte is read."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from flwr.app import Array, ArrayRecord

from common.records import RAW, WireError
from common.secure.fixed_point import Words

WORD = "uint32"


def pack_words(words: Mapping[str, Words]) -> ArrayRecord:
    """Return the words of each group as a raw little-endian array, groups sorted."""
    return ArrayRecord(
        {
            group: Array(dtype=WORD, shape=(words[group].size,), stype=RAW, data=words[group].astype("<u4").tobytes())
            for group in sorted(words)
        }
    )


def unpack_words(record: ArrayRecord, sizes: Mapping[str, int]) -> dict[str, Words]:
    """Return the words of `record`, which must hold exactly the groups and as many words of each as `sizes` says.

    Raises:
        WireError: `wrong-groups`, `wrong-dtype` or `wrong-size`.
    """
    if set(record.keys()) != set(sizes):
        raise WireError("wrong-groups", f"masked numbers came for {len(record)} groups, not for {sorted(sizes)!r:.200}")
    words = {}
    for group, size in sizes.items():
        array = record[group]
        if array.dtype != WORD or array.stype != RAW:
            raise WireError("wrong-dtype", f"{group} came as {array.stype} {array.dtype}, expected {RAW} {WORD}")
        if len(array.data) != 4 * size:
            raise WireError("wrong-size", f"{group} came with {len(array.data)} bytes, expected {4 * size}")
        words[group] = np.frombuffer(array.data, dtype="<u4").astype(np.uint32)
    return words
