"""Which nodes the SuperLink hears, by `flwr supernode list`; unknown where no SuperLink answers."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from common.processes.flower import environment, flower_program
from server.consortium.folder import Consortium

PATIENCE_S = 20.0
KEEP_S = 10.0
"""How long an answer is good for: asking takes seconds, and a node is offline only after a minute of silence."""
MAX_ANSWER_BYTES = 16 * 1024 * 1024


@dataclass(frozen=True)
class NodeSeen:
    """What the SuperLink says of a node.

    Attributes:
        status: `online`, `offline` (silent for two heartbeats, a minute), `registered` (never came), `unregistered`.
        last_seen: when it was last known to be there; None where it never was.
    """

    status: str
    last_seen: datetime | None


Fleet = Callable[[], Mapping[int, NodeSeen] | None]
"""Returns the nodes by number, None where nobody knows."""


def unknown_fleet() -> None:
    """Know of no node: no SuperLink is there to ask."""
    return


def superlink_fleet(consortium: Consortium, keep_s: float = KEEP_S) -> Fleet:
    """Return a fleet that asks the consortium's SuperLink, and remembers the answer for `keep_s`."""
    kept: dict[str, Any] = {"until": 0.0, "nodes": None}

    def look() -> Mapping[int, NodeSeen] | None:
        if time.monotonic() >= kept["until"]:
            kept.update(nodes=_ask(consortium.flower, consortium.settings.name), until=time.monotonic() + keep_s)
        nodes: Mapping[int, NodeSeen] | None = kept["nodes"]
        return nodes

    return look


def _ask(home: Path, connection: str) -> Mapping[int, NodeSeen] | None:
    command = [*flower_program("flwr"), "supernode", "list", connection, "--format", "json"]
    try:
        done = subprocess.run(
            command,
            env=environment(home),
            cwd=home,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=PATIENCE_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return None if done.returncode else parse_nodes(done.stdout, datetime.now(UTC))


class _Node(BaseModel):
    """What of a node of Flower's list is read here; what else stands there is Flower's business."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    number: Annotated[int, Field(alias="node-id", ge=0, lt=2**64)]
    status: Annotated[str, Field(max_length=32)]
    online_at: Annotated[str, Field(alias="online-at", max_length=64)]
    offline_at: Annotated[str, Field(alias="offline-at", max_length=64)]


class _Nodes(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)

    nodes: Annotated[list[_Node], Field(max_length=100_000)]


def parse_nodes(answer: bytes, asked: datetime) -> Mapping[int, NodeSeen] | None:
    """Return the nodes of Flower's answer; None where it is not what `flwr supernode list --format json` prints.

    Args:
        answer: stdout, which may begin with a line for people.
        asked: when; an online node was seen then.
    """
    begins = answer.find(b"{")
    if begins < 0 or len(answer) > MAX_ANSWER_BYTES:
        return None
    try:
        listed = _Nodes.model_validate(json.loads(answer[begins:]))
    except (ValueError, RecursionError, ValidationError):
        return None
    return {
        node.number: NodeSeen(node.status, asked if node.status == "online" else _latest(node)) for node in listed.nodes
    }


def _latest(node: _Node) -> datetime | None:
    times = [_time(text) for text in (node.online_at, node.offline_at)]
    return max((each for each in times if each is not None), default=None)


def _time(text: str) -> datetime | None:
    """Return a time as Flower prints it; None for its `N/A`."""
    try:
        read = datetime.fromisoformat(text)
    except ValueError:
        return None
    return read if read.tzinfo else read.replace(tzinfo=UTC)
