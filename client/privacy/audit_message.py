"""What the audit log says of one message: every array by its bytes' digest, every text, every number."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from pydantic import BaseModel, ConfigDict, ValidationError

from client.privacy.audit import AuditLog
from client.privacy.audit_entry import Entry, SentTensor, SentText
from common.records import ANSWER, MAX_TEXT_BYTES, Answer, Digest, RunId, WireError, read_text, size_bytes
from common.settings.stages import Stage

SHORT = 16 * 1024
"""Characters of a text that the log keeps word for word."""


class Subject(BaseModel):
    """What the coordinator asks about, as far as its message says so; the rest of the message does not matter here."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    run: RunId | None = None
    study_digest: Digest | None = None
    stage: Stage | None = None
    round: int | None = None


def note_message(
    workdir: Path, asked: Message, content: RecordDict, plan: str | None = None, allow: Callable[[], None] | None = None
) -> Entry:
    """Write down `content` as the answer to a message, before it leaves, unless `allow` raises in the last moment.

    Args:
        plan: digest of the plan under which it was made, None where none let anything out.
        allow: see `AuditLog.append`.
    Raises:
        AuditError: where it cannot be written.
        Exception: what `allow` raises.
    """
    subject = subject_of(asked.content)
    return AuditLog(workdir).append(
        "message",
        allow,
        asked=asked.metadata.message_type,
        run=subject.run,
        study=subject.study_digest,
        stage=subject.stage,
        round=subject.round,
        plan=plan,
        code=_code_of(content),
        tensors=tuple(sent for key, record in content.items() for sent in _tensors(key, record)),
        texts=tuple(sent for key, record in content.items() for sent in _texts(key, record)),
        metrics={
            f"{key}/{name}": value
            for key, record in content.items()
            if isinstance(record, MetricRecord)
            for name, value in record.items()
        },
        size_bytes=size_bytes(content),
    )


def subject_of(content: RecordDict) -> Subject:
    """Read run, study, stage and round out of a message of whatever kind; what cannot be read stays None."""
    return next(_subjects(content), Subject())


def sole_subject(content: RecordDict) -> Subject:
    """Read the same where consent hangs on it.

    Raises:
        WireError: `malformed` where the message speaks of several runs or studies: one could be approved for another.
    """
    found = list(_subjects(content))
    runs = {subject.run for subject in found if subject.run}
    studies = {subject.study_digest for subject in found if subject.study_digest}
    if len(runs) > 1 or len(studies) > 1:
        raise WireError("malformed", "the message speaks of several runs or studies")
    return Subject(run=next(iter(runs), None), study_digest=next(iter(studies), None))


def _subjects(content: RecordDict) -> Iterator[Subject]:
    """Yield what each text of a message speaks of, as far as it can be read."""
    for record in content.values():
        text = record.get("json") if isinstance(record, ConfigRecord) else None
        if not isinstance(text, str) or len(text) > MAX_TEXT_BYTES:
            continue
        for place in _places(text):
            try:
                subject = Subject.model_validate(place)
            except ValidationError:
                continue
            if subject != Subject():
                yield subject
                break


def _places(text: str) -> list[Any]:
    """Return where in a message's text its subject may stand: at the top, or as the attempt of a secure sum."""
    try:
        tree = json.loads(text)
    except (ValueError, RecursionError):
        return []
    if not isinstance(tree, dict):
        return []
    adverts = tree.get("adverts")
    first = adverts[0] if isinstance(adverts, list) and adverts else None
    attempts = [tree.get("attempt"), first.get("attempt") if isinstance(first, dict) else None]
    return [tree, *(attempt for attempt in attempts if isinstance(attempt, dict))]


def _code_of(content: RecordDict) -> str | None:
    try:
        return read_text(content, ANSWER, Answer).code
    except WireError:
        return None


def _tensors(key: str, record: object) -> list[SentTensor]:
    return [_tensor(key, name, array) for name, array in record.items()] if isinstance(record, ArrayRecord) else []


def _tensor(key: str, name: str, array: Array) -> SentTensor:
    return SentTensor(
        record=key,
        name=name,
        dtype=array.dtype,
        shape=tuple(array.shape),
        size_bytes=len(array.data),
        sha256=hashlib.sha256(array.data).hexdigest(),
    )


def _texts(key: str, record: object) -> list[SentText]:
    texts = [value for value in record.values() if isinstance(value, str)] if isinstance(record, ConfigRecord) else []
    return [
        SentText(
            record=key,
            size_bytes=len(text.encode()),
            sha256=hashlib.sha256(text.encode()).hexdigest(),
            text=text if len(text) <= SHORT else None,
        )
        for text in texts
    ]
