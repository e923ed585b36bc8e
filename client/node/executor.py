"""The executor: takes the SuperNode's tasks and starts the guard for each, and nothing else.

Flower's own starts `flwr-clientapp`, `flwr-agentapp` and others by name, whichever the SuperLink asks for. It is
Flower's loop that runs here, with an executor of ours in it.
"""

from __future__ import annotations

import argparse
import os
import subprocess
from pathlib import Path
from types import ModuleType

from flwr.supercore.constant import TaskType
from flwr.supercore.superexec import run_superexec as flower
from flwr.supercore.superexec.executor import ExecutionSpec, LaunchResult
from flwr.supercore.superexec.executor.subprocess_executor import SubprocessExecutor

from client.node.handover import TOKEN
from common.processes.flower import own_module


class GuardedExecutor(SubprocessExecutor):
    """Starts the guard for a ClientApp; every other kind of task fails."""

    def launch(self, spec: ExecutionSpec) -> LaunchResult:
        """Start a task's process."""
        if spec.task_type is not TaskType.CLIENT_APP:
            return LaunchResult.failed("a site runs client apps and nothing else")
        command = [*own_module("client.node.guard"), "--runtime-api-address", spec.runtime_api_address]
        command += ["--parent-pid", str(os.getpid())]
        subprocess.Popen(command, env={**os.environ, TOKEN: spec.token})
        return LaunchResult.accepted()


def put_executor(module: ModuleType) -> None:
    """Let Flower's loop have our executor. Raises RuntimeError where Flower does it in another way."""
    if not callable(getattr(module, "get_executor", None)):
        raise RuntimeError("this Flower starts tasks in another way; install the version we pin")
    vars(module)["get_executor"] = lambda *_, **__: GuardedExecutor()


def main() -> None:
    """Serve the SuperNode at the given address until its end."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runtime-api-address", required=True)
    parser.add_argument("--secret-file", type=Path, required=True)
    given = parser.parse_args()
    put_executor(flower)
    flower.run_superexec(
        runtime_api_address=given.runtime_api_address,
        insecure=True,  # on the loopback address, within this machine
        superexec_auth_secret=given.secret_file.read_bytes(),
        runtime_dependency_install=False,
    )


if __name__ == "__main__":
    main()
