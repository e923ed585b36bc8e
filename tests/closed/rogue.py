"""A coordinator against whom the sites must hold: it does without its own guard, and sends what it likes.

It takes the task of a run that was submitted by the SuperLink's secret, as the executor would, and speaks to the sites.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from flwr.app import ConfigRecord, Message, RecordDict
from flwr.common.constant import SubStatus
from flwr.common.serde import run_from_proto
from flwr.proto.runtime_pb2 import AcquireTaskRequest, PullTaskInputRequest, PushTaskOutputRequest
from flwr.supercore.constant import TaskType
from flwr.supercore.heartbeat import HeartbeatSender, make_task_heartbeat_fn_http
from flwr.supercore.interceptors import RuntimeVersionHttpInterceptor, SuperExecAuthHttpInterceptor
from flwr.supercore.runtime import RuntimeHttpClient
from flwr.supercore.superexec.run_superexec import _SUPEREXEC_AUTH_METHODS
from flwr.supercore.task_identity import TaskIdentity
from flwr.superlink.grid import HttpGrid

from server.consortium.folder import Consortium

PATIENCE_S = 120.0


def acquire(consortium: Consortium, address: str, root: bytes) -> str:
    """Take the oldest task of a ServerApp; return its token."""
    interceptors = [
        RuntimeVersionHttpInterceptor(component_name="SuperExec"),
        SuperExecAuthHttpInterceptor(
            master_secret=consortium.superexec_secret.read_bytes(), protected_methods=_SUPEREXEC_AUTH_METHODS
        ),
    ]
    with RuntimeHttpClient.from_server_address(address, False, root, interceptors) as client:
        answer = client.AcquireTask(AcquireTaskRequest(supported_task_types=[TaskType.SERVER_APP]))
    assert answer.token, "there is no task"
    return str(answer.token)


@contextmanager
def grid(consortium: Consortium) -> Iterator[HttpGrid]:
    """Yield the grid of the run that was submitted last, its task taken; the run ends with it."""
    address, root = f"127.0.0.1:{consortium.settings.fleet_port}", consortium.ca.read_bytes()
    taken = HttpGrid(address, root_certificates=root, token=acquire(consortium, address, root))
    beats = HeartbeatSender(make_task_heartbeat_fn_http(taken._runtime_client))
    before = TaskIdentity._run_id, TaskIdentity._task_id, TaskIdentity._node_id
    try:
        beats.start()
        task = taken._runtime_client.PullTaskInput(PullTaskInputRequest())
        TaskIdentity.run_id, TaskIdentity.task_id, TaskIdentity.node_id = task.run.run_id, task.task_id, 1
        taken.set_run(run_from_proto(task.run))
        yield taken
        taken._runtime_client.PushTaskOutput(PushTaskOutputRequest(sub_status=SubStatus.COMPLETED))
    finally:
        TaskIdentity._run_id, TaskIdentity._task_id, TaskIdentity._node_id = before
        beats.stop()
        taken.close()


def exchange(consortium: Consortium, messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Send messages in the run that was submitted last; return for each the code of an error, or all records."""
    with grid(consortium) as open_grid:
        numbers = list(open_grid.push_messages([message_of(each) for each in messages]))
        found: dict[str, dict[str, Any]] = {}
        until = time.monotonic() + PATIENCE_S
        while len(found) < len(numbers):
            assert time.monotonic() < until, f"{len(found)} of {len(numbers)} sites have answered"
            time.sleep(0.1)
            for reply in open_grid.pull_messages(set(numbers) - set(found)):
                found[reply.metadata.reply_to_message_id] = described(reply)
    return [found[number] for number in numbers]


def message_of(asked: dict[str, Any]) -> Message:
    """Return the message that a dictionary describes."""
    records = RecordDict({key: ConfigRecord({"json": text}) for key, text in asked["records"].items()})
    return Message(content=records, dst_node_id=asked["node"], message_type=asked["kind"])


def described(reply: Message) -> dict[str, Any]:
    """Return an error's code, or the texts of all records."""
    if reply.has_error():
        return {"error": reply.error.code, "reason": reply.error.reason}
    return {key: dict(record) for key, record in reply.content.items()}
