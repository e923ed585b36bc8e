"""One line of the audit log: what left a site in one message, or what a person there decided."""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Literal

from pydantic import AwareDatetime, Field, StringConstraints, ValidationError

from common.errors import PolicyError
from common.records import Code, Digest, RunId
from common.settings.frozen import Frozen
from common.settings.stages import Stage

MAX_LINE_BYTES = 64 * 1024 * 1024
FIRST = "0" * 64
"""What the first line holds in place of the digest of the line before it."""

Text = Annotated[str, StringConstraints(max_length=512)]
Kind = Literal["message", "approved", "revoked", "stopped", "healed"]


class AuditError(PolicyError):
    """The audit log cannot be trusted or written, so nothing leaves."""

    code = "audit-log"


class SentTensor(Frozen):
    """One array of a message as it left: where it stood in it, what it was, and the SHA-256 of its bytes."""

    record: Text
    name: Text
    dtype: Text
    shape: tuple[int, ...]
    size_bytes: int
    sha256: Digest


class SentText(Frozen):
    """One text of a message; `text` itself where it is short, its digest always."""

    record: Text
    size_bytes: int
    sha256: Digest
    text: str | None = None


class Entry(Frozen):
    """One line.

    Attributes:
        number: of the line, from 1.
        before: SHA-256 of the line before it.
        at: when it was written, before the message left.
        kind: `message`, or what a person decided, or that a torn line was cut off.
        asked: the type of the message that is answered, such as `train` or `query`.
        run, study, stage, round: what the coordinator asked about.
        plan: digest of the plan under which it leaves; of the one that was approved or revoked.
        code: the answer's code, `ok` or why nothing else left.
        tensors, texts, metrics: all that the message holds.
        size_bytes: payload of the message.
        by, note: who decided, and what was found.
    """

    number: Annotated[int, Field(ge=1)]
    before: Digest
    at: AwareDatetime
    kind: Kind
    asked: Text | None = None
    run: RunId | None = None
    study: Digest | None = None
    stage: Stage | None = None
    round: int | None = None
    plan: Digest | None = None
    code: Code | None = None
    tensors: tuple[SentTensor, ...] = ()
    texts: tuple[SentText, ...] = ()
    metrics: dict[Text, float] = Field(default_factory=dict)
    size_bytes: int = 0
    by: Text | None = None
    note: Text | None = None

    def to_line(self) -> bytes:
        """Return the line, with its end."""
        return json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":")).encode() + b"\n"


def read_entry(line: bytes) -> Entry:
    """Parse a line, with its end, strictly. Raises AuditError where it is none, or not written as it would be."""
    try:
        entry = Entry.model_validate_json(line, strict=True)
    except (ValidationError, RecursionError):
        raise AuditError("is no entry") from None
    if entry.to_line() != line:
        raise AuditError("is not written as an entry is")
    return entry


def digest_of(line: bytes) -> str:
    """Return the digest of a line, with its end: what the next line holds of it."""
    return hashlib.sha256(line).hexdigest()
