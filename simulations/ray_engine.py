"""The Ray engine: Flower's simulation runtime carries the real apps; each virtual node opens the site of its number."""

from __future__ import annotations

import importlib
import logging
import os
import time
from pathlib import Path

from flwr.app import ConfigRecord, Context, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp
from flwr.simulation import run_simulation

from client.answers.site_file import SITE_KEY
from common.errors import FederationError
from common.study import load_study
from simulations.roster import Seat, write_rosters

PARTITION_KEY = "partition-id"
WHERE = "query.where"
"""The question of the engine to a virtual node: which number it has. Ray's nodes draw their identifiers."""
WHERE_S = 120.0
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
        """Answer a message as the site of the node's number, the engine's own with that number."""
        if message.metadata.message_type == WHERE:
            return Message(
                RecordDict({WHERE: ConfigRecord({WHERE: context.node_config[PARTITION_KEY]})}), reply_to=message
            )
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
        sites, nodes = sorted(load_study(Path(str(settings["study"]))).sites), find_nodes(grid, len(files))
        seats = {site: Seat(file, node) for site, file, node in zip(sites, files, nodes, strict=True)}
        roster = write_rosters(Path(str(settings["out"])), seats)
        context.run_config = {**settings, "roster": str(roster)}
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


def find_nodes(grid: Grid, expected: int) -> list[int]:
    """Ask the virtual nodes for their numbers; return them in that order. Raises FederationError if one is silent."""
    began = time.monotonic()
    while len(nodes := list(grid.get_node_ids())) < expected and time.monotonic() - began < WHERE_S:
        time.sleep(0.1)
    questions = [Message(RecordDict(), node, WHERE, ttl=WHERE_S) for node in nodes]
    replies = [reply for reply in grid.send_and_receive(questions, timeout=WHERE_S) if not reply.has_error()]
    found = {int(str(reply.content[WHERE][WHERE])): reply.metadata.src_node_id for reply in replies}
    if len(found) < expected:
        raise FederationError(f"{len(found)} of {expected} virtual nodes answered; run again, or without --engine ray")
    return [found[number] for number in sorted(found)]
