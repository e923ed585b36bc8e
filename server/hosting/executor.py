"""The coordinator's executor, in the place of Flower's superexec: the SuperLink's tasks, a run each, for the guard."""

from __future__ import annotations

from common.processes.executor import GuardedExecutor, serve_tasks


def main() -> None:
    """Serve the SuperLink at the given address until its end."""
    serve_tasks(GuardedExecutor("flwr-serverapp", "server.hosting.guard"), __doc__)


if __name__ == "__main__":
    main()
