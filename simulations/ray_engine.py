"""The Ray engine: Flower's simulation runtime carries the real apps; each virtual node opens the site of its number."""

from __future__ import annotations

import importlib
import logging
import os
from pathlib import Path

from flwr.app import Context, Message
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp
from flwr.simulation import run_simulation

from client.app import SITE_KEY

PARTITION_KEY = "partition-id"
CLIENT = "client.app:app"


class SiteByNumber(ClientApp):
    """Gives each virtual node the `site.toml` of its number, then calls the ClientApp of the process it is in.

    Args:
        files: the sites' `site.toml`, in the order of the nodes' numbers.
        client: `module:attribute` of the ClientApp; it is imported where it runs, so that opened sites stay open.
    """

    def __init__(self, files: list[Path], client: str = CLIENT) -> None:
        super().__init__()
        self._files = [str(path.resolve()) for path in files]
        self._client = client

    def __call__(self, message: Message, context: Context) -> Message:
        """Answer a message as the site of the node's number."""
        module, name = self._client.split(":")
        app: ClientApp = getattr(importlib.import_module(module), name)
        context.node_config[SITE_KEY] = self._files[int(context.node_config[PARTITION_KEY])]
        return app(message, context)


def play_on_ray(
    server: ServerApp, files: list[Path], settings: dict[str, bool | float | int | str], client: str = CLIENT
) -> None:
    """Run `server` with `settings` as its run configuration over one virtual node a site, one CPU each.

    Flower marks `run_simulation` as deprecated in favour of `flwr run`, which leaves a detached SuperLink behind; this
    one ends all that it started.
    """
    app = ServerApp()

    @app.main()
    def main(grid: Grid, context: Context) -> None:
        context.run_config = dict(settings)
        server(grid, context)

    logging.getLogger("flwr").setLevel(logging.ERROR)
    cpus = max(1, min(len(files), os.cpu_count() or 1))
    run_simulation(
        app,
        SiteByNumber(files, client),
        num_supernodes=len(files),
        backend_config={
            "init_args": {
                "num_cpus": cpus,
                "include_dashboard": False,
                "logging_level": "ERROR",
                "log_to_driver": False,
            },
            "client_resources": {"num_cpus": 1, "num_gpus": 0.0},
        },
    )
