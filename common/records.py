"""The wire contract: what coordinator and site say to each other, as Flower records and back.

Tensors travel as raw little-endian bytes in C order (`RAW`) or in a coding of `common.wire.coding`, so that every size
is checked before a byte is read and nothing is unpickled. Structured facts travel as one JSON text each, parsed
strictly; numbers travel as metrics.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, TypeVar

import torch
from flwr.app import Array, ArrayRecord, ConfigRecord, MetricRecord, RecordDict
from pydantic import BaseModel, Field, StringConstraints, ValidationError

from common.errors import FederationError
from common.parameters import StateDict
from common.plan import Plan, SiteInventory
from common.sequences import Sequence
from common.settings.frozen import Frozen, SiteName
from common.settings.stages import Stage
from common.spent import Spent
from common.study import Study
from common.wire.coding import Coded, Coding, CodingError, decode, encode

RAW = "gliofed.raw"
GLOBAL = "global/"
"""Before the name of a group: its arrays are a record of their own, so that sites share what they are sent alike."""
UPDATE = "update"
EARLIER = "earlier/"
TASK = "task"
ANSWER = "answer"
METRICS = "metrics"

OK = "ok"
NOTHING_TO_TRAIN = "nothing-to-train"
NEEDS_TENSORS = "needs-tensors"
BUDGET_EXHAUSTED = "privacy-budget-exhausted"
NOT_APPROVED = "not-approved"
OUTSIDE_HOURS = "outside-hours"
"""Code of a site whose policy lets it work at other hours: it is waited for as one that is not there."""

SITS_OUT = frozenset({NOTHING_TO_TRAIN, BUDGET_EXHAUSTED})
"""Codes of a site that answered well and brings nothing to the stage; it is not asked again."""

PLAN = "study-plan"
"""Beside a query's question: the signed study plan, word for word, which the site keeps for a person to read."""

STOP = "stop"
"""Action of the query that ends a run at a site."""

MAX_TEXT_BYTES = 4 * 1024 * 1024
MAX_METRICS = 256
MAX_HELD = 4096

Code = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9-]{0,63}$")]
Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Group = Annotated[str, StringConstraints(max_length=128)]
RunId = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{16}$")]
Round = Annotated[int, Field(ge=1, le=10_000_000)]
Count = Annotated[int, Field(ge=1, le=10_000_000)]

METRIC_NAME = re.compile(r"(training|held_out)\.[a-z][a-z0-9_]{0,47}")

DTYPES = {
    str(dtype).removeprefix("torch."): dtype
    for dtype in (
        torch.float32,
        torch.float64,
        torch.float16,
        torch.bfloat16,
        torch.int64,
        torch.int32,
        torch.uint8,
        torch.bool,
    )
}

Text = TypeVar("Text", bound=BaseModel)


class WireError(FederationError):
    """A message does not hold what the contract says; `code` names how."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class Question(Frozen):
    """The inventory query: which study is meant, by its full text and its digest at the coordinator, in which run."""

    study: Study
    study_digest: Digest
    run: RunId | None = None


@dataclass(frozen=True)
class RoundKey:
    """Which round an update is of, and the digest of the global tensors from which it was trained."""

    run: str | None
    stage: Stage | None
    round: int | None
    global_sha256: str | None


class StopOrder(Frozen):
    """The end of a run: the site takes no task of it any more and forgets what it kept for it."""

    run: RunId


class Task(Frozen):
    """One round's work at one site.

    Attributes:
        global_sha256: digest of the round's global tensors; an update names it again, and a site that has finished the
            round from the same ones answers with what it answered before.
        groups: the parameter groups that the site starts from, by the digest of their tensors; those that it holds
            since an earlier message are not in this one.
        earlier: the released models of earlier stages, by SHA-256.
    """

    run: RunId
    stage: Stage
    round: Round
    global_sha256: Digest
    study: Study
    study_digest: Digest
    plan: Plan
    groups: dict[Group, Digest] = Field(default_factory=dict)
    earlier: dict[Stage, Digest] = Field(default_factory=dict)

    @property
    def key(self) -> RoundKey:
        """What an update must name to count."""
        return RoundKey(self.run, self.stage, self.round, self.global_sha256)


class Greys(Frozen):
    """Medians of one sequence's grey constants over a site's training patients, and how many those are."""

    patients: Count
    constants: dict[Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,31}$")], float]


class Answer(Frozen):
    """What a site answers besides tensors and metrics.

    Attributes:
        site: the site's own name.
        code: `ok`, or why there is no update; never text with a path or an identifier.
        run, stage, round, global_sha256: the task that the update answers, word for word.
        inventory, greys: the answer to a query.
        patients: per parameter group of the update, the patients that touched it.
        withheld: metrics and groups that the site's policy kept back.
        withdrawn: patients of earlier rounds of this run that have been withdrawn since; a count and no more.
        holds: digests of the groups and earlier models that the site holds, in the answer to a query, and to a task of
            which it lacks some; an update says by itself that all of them are there.
        spent: of a privately trained update, what the site's patients have spent with it.
    """

    site: SiteName
    code: Code = OK
    run: RunId | None = None
    stage: Stage | None = None
    round: Round | None = None
    global_sha256: Digest | None = None
    inventory: SiteInventory | None = None
    greys: dict[Sequence, Greys] = Field(default_factory=dict)
    patients: dict[Group, Count] = Field(default_factory=dict)
    withheld: Annotated[tuple[Group, ...], Field(max_length=4096)] = ()
    withdrawn: Annotated[int, Field(ge=0, le=10_000_000)] = 0
    holds: Annotated[tuple[Digest, ...], Field(max_length=MAX_HELD)] = ()
    spent: Spent | None = None

    @property
    def key(self) -> RoundKey:
        """Which round the update says that it is of."""
        return RoundKey(self.run, self.stage, self.round, self.global_sha256)


@dataclass(frozen=True)
class Declared:
    """What a tensor must be: dtype by name, and shape."""

    dtype: str
    shape: tuple[int, ...]

    @property
    def size_bytes(self) -> int:
        """Bytes of the raw tensor."""
        return math.prod(self.shape) * DTYPES[self.dtype].itemsize

    @property
    def is_floating(self) -> bool:
        """Whether the tensor has a mean."""
        return DTYPES[self.dtype].is_floating_point


def declare(tensors: StateDict) -> dict[str, Declared]:
    """Return dtype and shape of every tensor."""
    return {
        name: Declared(str(tensor.dtype).removeprefix("torch."), tuple(tensor.shape))
        for name, tensor in tensors.items()
    }


def pack_tensors(tensors: StateDict, coding: Mapping[str, Coding] | None = None) -> ArrayRecord:
    """Return the tensors as arrays, names sorted: raw, but for those that `coding` names."""
    coding, coded = coding or {}, {}
    for name, tensor in tensors.items():
        if name in coding:
            coded[name] = encode(tensor, coding[name])
        else:
            flat = tensor.detach().cpu().contiguous().reshape(-1)
            coded[name] = Coded(RAW, flat.view(torch.uint8).numpy().tobytes() if flat.numel() else b"")
    return pack_coded(coded, declare(tensors))


def pack_coded(coded: Mapping[str, Coded], declared: Mapping[str, Declared]) -> ArrayRecord:
    """Return tensors that are coded already as arrays, names sorted; dtype and shape are those of the decoded ones."""
    return ArrayRecord(
        {
            name: Array(
                dtype=declared[name].dtype, shape=declared[name].shape, stype=coded[name].form, data=coded[name].data
            )
            for name in sorted(coded)
        }
    )


def join_arrays(records: Iterable[ArrayRecord]) -> ArrayRecord:
    """Return one record of all arrays, names sorted; their bytes are shared, not copied."""
    arrays = {name: array for record in records for name, array in record.items()}
    return ArrayRecord({name: arrays[name] for name in sorted(arrays)})


def unpack_tensors(
    record: ArrayRecord, declared: Mapping[str, Declared], coding: Mapping[str, Coding] | None = None
) -> StateDict:
    """Return the tensors of `record`, which must hold exactly the declared ones, each in the coding that it must have.

    Raises:
        WireError: `missing-tensor`, `unknown-tensor`, `wrong-dtype`, `wrong-shape`, `wrong-size` or `wrong-coding`.
    """
    check_names(record.keys(), declared)
    coding = coding or {}
    return {name: _unpack(name, record[name], declared[name], coding.get(name)) for name in sorted(declared)}


def _unpack(name: str, array: Array, expected: Declared, coding: Coding | None) -> torch.Tensor:
    if array.dtype != expected.dtype or (coding is None and array.stype != RAW):
        raise WireError("wrong-dtype", f"{name} came as {array.stype} {array.dtype}, expected {RAW} {expected.dtype}")
    if tuple(array.shape) != expected.shape:
        raise WireError("wrong-shape", f"{name} came with shape {tuple(array.shape)}, expected {expected.shape}")
    if coding is not None:
        try:
            return decode(Coded(array.stype, array.data), coding, expected.shape)
        except CodingError as error:
            raise WireError("wrong-coding", f"{name} {error}") from None
    if len(array.data) != expected.size_bytes:
        raise WireError("wrong-size", f"{name} came with {len(array.data)} bytes, expected {expected.size_bytes}")
    dtype = DTYPES[expected.dtype]
    flat = torch.frombuffer(bytearray(array.data), dtype=dtype) if array.data else torch.empty(0, dtype=dtype)
    return flat.reshape(expected.shape)


def check_names(names: object, declared: Mapping[str, Declared]) -> None:
    """Refuse names beyond or short of the declared ones. Raises WireError."""
    found = set(names)  # type: ignore[call-overload]
    missing, unknown = sorted(set(declared) - found), sorted(found - set(declared))
    if unknown:
        raise WireError("unknown-tensor", f"{len(unknown)} tensors were not declared, the first is {unknown[0]!r:.120}")
    if missing:
        raise WireError(
            "missing-tensor", f"{len(missing)} declared tensors are missing, the first is {missing[0]!r:.120}"
        )


def pack_text(text: BaseModel) -> ConfigRecord:
    """Return a parsed record as one JSON text."""
    return ConfigRecord({"json": text.model_dump_json()})


def read_text(content: RecordDict, key: str, kind: type[Text]) -> Text:
    """Parse the JSON text under `key` strictly. Raises WireError `malformed`."""
    record = content.get(key)
    text = record.get("json") if isinstance(record, ConfigRecord) else None
    if not isinstance(text, str) or len(text) > MAX_TEXT_BYTES:
        raise WireError("malformed", f"the message holds no {key!r} text of at most {MAX_TEXT_BYTES} bytes")
    try:
        return kind.model_validate_json(text)
    except ValidationError as error:
        raise WireError("malformed", f"{key!r} is not as the contract says ({error.error_count()} problems)") from None


def arrays_of(content: RecordDict, key: str) -> ArrayRecord:
    """Return the arrays under `key`. Raises WireError `malformed` where there are none."""
    record = content.get(key)
    if not isinstance(record, ArrayRecord):
        raise WireError("malformed", f"the message holds no arrays {key!r}")
    return record


def read_metrics(content: RecordDict) -> dict[str, float]:
    """Return the metrics of an answer, names and values checked. Raises WireError `malformed`."""
    record = content.get(METRICS, MetricRecord())
    if not isinstance(record, MetricRecord) or len(record) > MAX_METRICS:
        raise WireError("malformed", "the metrics are not a metric record of reasonable length")
    for name, value in record.items():
        if not METRIC_NAME.fullmatch(name) or not isinstance(value, int | float) or not math.isfinite(value):
            raise WireError("malformed", f"metric {name!r:.80} is not a finite number under a known kind of name")
    return {name: float(record[name]) for name in sorted(record)}  # type: ignore[arg-type]


def size_bytes(content: RecordDict) -> int:
    """Return the payload bytes of a message: raw tensors, texts, and 8 a metric."""
    total = 0
    for record in content.values():
        if isinstance(record, ArrayRecord):
            total += sum(len(array.data) for array in record.values())
        elif isinstance(record, MetricRecord):
            total += 8 * len(record)
        else:
            total += sum(len(value.encode()) for value in record.values() if isinstance(value, str))
    return total
