"""The in-process grid with sites at work in processes of their own: several train at a time, one thread each."""

from __future__ import annotations

import contextlib
import importlib
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import Connection
from multiprocessing.queues import SimpleQueue
from types import TracebackType
from typing import Self

from flwr.app import Context, Error, Message, RecordDict
from flwr.clientapp import ClientApp

from client.monitor import StepDone, watching
from simulations.grid import CLIENT_APP_RAISED, MESSAGE_UNAVAILABLE, RUN_ID, InProcessGrid, VirtualNode

CLIENT_APP_CRASHED = 8
PATIENCE_S = 0.5
"""How long a pull waits for an answer; progress is passed on as often."""

Steps = SimpleQueue[StepDone]


class ProcessGrid(InProcessGrid):
    """Hands each message to a pool of `workers` processes as soon as it is pushed. Close it, or use it in a `with`.

    Args:
        nodes: node identifier → node configuration.
        workers: sites that are at work at a time.
        on_step: hears the training steps of all sites.
        client: `module:attribute` of the ClientApp, imported in each process.
    """

    def __init__(
        self,
        nodes: Mapping[int, Mapping[str, str]],
        workers: int,
        on_step: Callable[[StepDone], None],
        client: str = "client.app:app",
    ) -> None:
        super().__init__({number: VirtualNode(ClientApp(), configuration) for number, configuration in nodes.items()})
        self._workers, self._on_step, self._client = workers, on_step, client
        self._spawn = multiprocessing.get_context("spawn")
        self._steps: Steps = self._spawn.SimpleQueue()
        self._end, self._lifeline = self._spawn.Pipe(duplex=False)
        self._pool = self._open()
        self._running: dict[str, Future[Message]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the processes at once; what a site was at work on is done again when the run is resumed."""
        self._lifeline.close()
        self._pool.shutdown(wait=True, cancel_futures=True)
        self._steps.close()

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Take messages in, start work on them, and return their identifiers."""
        identifiers = list(super().push_messages(messages))
        for identifier in identifiers:
            message = self._waiting[identifier]
            node = message.metadata.dst_node_id
            configuration = dict(self._nodes[node].node_config)
            try:
                self._running[identifier] = self._pool.submit(_answer, self._client, message, node, configuration)
            except BrokenProcessPool:
                self._pool = self._open()
                self._running[identifier] = self._pool.submit(_answer, self._client, message, node, configuration)
        return identifiers

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """Return the answers that are there, after waiting a moment for the first one."""
        wanted = {identifier: self._running[identifier] for identifier in message_ids if identifier in self._running}
        if wanted:
            wait(wanted.values(), PATIENCE_S, FIRST_COMPLETED)
        while not self._steps.empty():
            self._on_step(self._steps.get())
        return [self._collect(identifier) for identifier, future in wanted.items() if future.done()]

    def _collect(self, identifier: str) -> Message:
        message, future = self._waiting.pop(identifier), self._running.pop(identifier)
        try:
            return future.result()
        except BrokenProcessPool:
            return Message(Error(CLIENT_APP_CRASHED, "the process died"), reply_to=message)
        except Exception as error:
            return Message(Error(CLIENT_APP_RAISED, type(error).__name__), reply_to=message)

    def _open(self) -> ProcessPoolExecutor:
        return ProcessPoolExecutor(self._workers, self._spawn, _begin, (self._steps, self._end))


_queue: Steps | None = None


def _begin(steps: Steps, end: Connection) -> None:
    """Set a new process up: one thread, deaf to Ctrl-C (the parent hears it), and gone when the parent is."""
    import torch

    global _queue
    _queue = steps
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_follow, args=(end,), daemon=True).start()


def _follow(end: Connection) -> None:
    """Leave when the parent's end of the lifeline is closed, by itself or by its death."""
    with contextlib.suppress(EOFError, OSError):
        end.recv_bytes()
    os._exit(0)


def _answer(client: str, message: Message, node: int, configuration: dict[str, str]) -> Message:
    """Answer one message as the node's ClientApp."""
    if time.time() > message.metadata.created_at + message.metadata.ttl:
        return Message(Error(MESSAGE_UNAVAILABLE, "expired"), reply_to=message)
    module, name = client.split(":")
    app: ClientApp = getattr(importlib.import_module(module), name)
    context = Context(RUN_ID, node, dict(configuration), RecordDict(), {})
    with watching(_queue.put if _queue is not None else None):
        return app(message, context)
