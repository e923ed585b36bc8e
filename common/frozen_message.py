"""A message's content as bytes and back, without pickle: a header in JSON, then the raw arrays."""

from __future__ import annotations

import json
from typing import Any

from flwr.app import Array, ArrayRecord, ConfigRecord, MetricRecord, RecordDict

from common.errors import ReleaseError

MAGIC = b"gliofed-message-1\n"
LENGTH_BYTES = 8


def freeze(content: RecordDict) -> bytes:
    """Return the content as bytes; the same content gives the same bytes.

    Config records hold texts, truth values and numbers, as the wire contract has them.
    """
    header: list[dict[str, Any]] = []
    blobs: list[bytes] = []
    for name, record in content.items():
        if isinstance(record, ArrayRecord):
            entries = [
                [key, array.dtype, list(array.shape), array.stype, len(array.data)] for key, array in record.items()
            ]
            blobs += [array.data for array in record.values()]
            header.append({"name": name, "kind": "arrays", "values": entries})
        else:
            kind = "metrics" if isinstance(record, MetricRecord) else "config"
            header.append({"name": name, "kind": kind, "values": dict(record)})
    text = json.dumps(header, separators=(",", ":")).encode()
    return b"".join((MAGIC, len(text).to_bytes(LENGTH_BYTES, "big"), text, *blobs))


def thaw(body: bytes) -> RecordDict:
    """Return the content that `freeze` turned into bytes. Raises ReleaseError where they are of another version."""
    if not body.startswith(MAGIC):
        raise ReleaseError("a message on the disk is of another version; remove the run's state folder")
    start = len(MAGIC) + LENGTH_BYTES
    offset = start + int.from_bytes(body[len(MAGIC) : start], "big")
    content = RecordDict()
    for entry in json.loads(body[start:offset]):
        if entry["kind"] == "arrays":
            arrays: dict[str, Array] = {}
            for key, dtype, shape, stype, size in entry["values"]:
                arrays[key] = Array(dtype=dtype, shape=tuple(shape), stype=stype, data=body[offset : offset + size])
                offset += size
            content[entry["name"]] = ArrayRecord(arrays)
        else:
            content[entry["name"]] = (MetricRecord if entry["kind"] == "metrics" else ConfigRecord)(entry["values"])
    return content
