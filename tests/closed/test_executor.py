"""The executor: it starts a guard for one kind of task and nothing for any other, at a site as at the coordinator."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from types import ModuleType

import pytest
from flwr.supercore.constant import TaskType
from flwr.supercore.superexec import run_superexec
from flwr.supercore.superexec.executor import ExecutionSpec, LaunchResultStatus

from client.node import executor as at_site
from common.processes import executor
from common.processes.executor import GuardedExecutor, put_executor
from common.processes.handover import TOKEN, Handover
from server.hosting import executor as at_coordinator

ROLES = {
    at_site: (TaskType.CLIENT_APP, "client.node.guard", None),
    at_coordinator: (TaskType.SERVER_APP, "server.hosting.guard", "/ca.crt"),
}


def spec(kind: TaskType, root: str | None) -> ExecutionSpec:
    return ExecutionSpec(
        task_type=kind,
        runtime_api_address="127.0.0.1:1",
        token="a-secret",
        insecure=root is None,
        root_certificates_path=root,
        runtime_dependency_install=True,
        parent_pid=1,
        suppress_output=True,
        task_id=1,
    )


def executor_of(role: ModuleType, monkeypatch: pytest.MonkeyPatch) -> GuardedExecutor:
    made: list[GuardedExecutor] = []
    monkeypatch.setattr(role, "serve_tasks", lambda executor, description: made.append(executor))
    role.main()
    return made[0]


@pytest.mark.parametrize("role", ROLES)
def test_it_starts_its_guard_for_its_kind_of_task_and_nothing_for_any_other(
    role: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    own, guard, root = ROLES[role]
    started: list[tuple[list[str], dict[str, str]]] = []
    monkeypatch.setattr(executor.subprocess, "Popen", lambda command, env: started.append((command, env)))
    made = executor_of(role, monkeypatch)
    statuses = {kind: made.launch(spec(kind, root)).status for kind in TaskType}
    assert {kind for kind, status in statuses.items() if status is LaunchResultStatus.ACCEPTED} == {own}
    ((command, environment),) = started
    assert command[:4] == [sys.executable, "-P", "-m", guard]
    assert "a-secret" not in " ".join(command)
    assert environment[TOKEN] == "a-secret"


@pytest.mark.parametrize("root", [None, Path("/etc/ca.crt")])
def test_the_guard_is_told_what_the_executor_knows_and_hands_the_token_to_nobody(
    root: Path | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = Handover("127.0.0.1:1", "a-secret", 7, root)
    monkeypatch.setattr(sys, "argv", ["guard", *task.words()])
    monkeypatch.setenv(TOKEN, task.environment()[TOKEN])
    assert Handover.received("") == task
    assert TOKEN not in os.environ


def test_flowers_loop_gets_our_executor() -> None:
    stand_in = ModuleType("run_superexec")
    vars(stand_in).update(vars(run_superexec))
    ours = GuardedExecutor("flwr-clientapp", "client.node.guard")
    put_executor(stand_in, ours)
    assert stand_in.get_executor("kubernetes", insecure=True) is ours
    assert "executor = get_executor(" in Path(str(run_superexec.__file__)).read_text()


def test_it_refuses_a_flower_that_starts_tasks_otherwise() -> None:
    with pytest.raises(RuntimeError, match="another way"):
        put_executor(ModuleType("run_superexec"), GuardedExecutor("flwr-clientapp", "client.node.guard"))
