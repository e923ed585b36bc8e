"""The site's executor: the SuperNode's tasks, each for the guard."""

from __future__ import annotations

from common.processes.executor import GuardedExecutor, serve_tasks


def main() -> None:
    """Serve the SuperNode at the given address until its end."""
    serve_tasks(GuardedExecutor("flwr-clientapp", "client.node.guard"), __doc__)


if __name__ == "__main__":
    main()
