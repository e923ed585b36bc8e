"""The executor: takes the tasks of a SuperLink or a SuperNode, starts our guard for one kind of them, and nothing else.

Flower's own starts `flwr-serverapp`, `flwr-clientapp`, `flwr-agentapp` and others by name, whichever is asked for. It
is Flower's loop that runs here, with an executor of ours in it.
"""

from __future__ import annotations

import argparse
import subprocess
from pathlib import Path
from types import ModuleType

from flwr.supercore.constant import TaskType
from flwr.supercore.superexec import run_superexec as flower
from flwr.supercore.superexec.executor import ExecutionSpec, LaunchResult
from flwr.supercore.superexec.executor.subprocess_executor import SubprocessExecutor

from common.processes.flower import own_module
from common.processes.handover import Handover
from common.processes.stand_in import stand_in


class GuardedExecutor(SubprocessExecutor):
    """Starts a guard for one kind of task; every other kind fails.

    Args:
        kind: by Flower's name for it, `flwr-serverapp` or `flwr-clientapp`.
        guard: the module of ours that gets the task.
    """

    def __init__(self, kind: str, guard: str) -> None:
        self._kind, self._guard = TaskType(kind), guard

    def launch(self, spec: ExecutionSpec) -> LaunchResult:
        """Start a task's process."""
        if spec.task_type is not self._kind or spec.parent_pid is None:
            return LaunchResult.failed(f"tasks of the kind {self._kind.value} are run here and no others")
        root = None if spec.root_certificates_path is None else Path(spec.root_certificates_path)
        task = Handover(spec.runtime_api_address, spec.token, spec.parent_pid, root)
        subprocess.Popen([*own_module(self._guard), *task.words()], env=task.environment())
        return LaunchResult.accepted()


def put_executor(module: ModuleType, executor: GuardedExecutor) -> None:
    """Let Flower's loop have our executor. Raises RuntimeError where Flower does it in another way."""
    stand_in(module, {"get_executor": lambda *_, **__: executor})


def serve_tasks(executor: GuardedExecutor, description: str | None) -> None:
    """Serve the tasks of the address on the command line until it ends; without root certificates in clear."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--runtime-api-address", required=True)
    parser.add_argument("--secret-file", type=Path, required=True)
    parser.add_argument("--root-certificates")
    given = parser.parse_args()
    put_executor(flower, executor)
    flower.run_superexec(
        runtime_api_address=given.runtime_api_address,
        insecure=given.root_certificates is None,
        root_certificates_path=given.root_certificates,
        superexec_auth_secret=given.secret_file.read_bytes(),
        runtime_dependency_install=False,
    )
