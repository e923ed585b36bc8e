"""A TCP link in user space, to be made slow, far, lossy or broken while connections run over it.

A proxy cannot lose a TCP segment: what it read has been acknowledged. So a loss is what an application sees of one:
for each segment of `SEGMENT_BYTES`, with the probability `loss`, everything behind it waits for one retransmission,
`STALL_S` (the shortest retransmission timeout of Linux, which is longer than a fast retransmission takes).
"""

from __future__ import annotations

import contextlib
import random
import socket
import struct
import threading
import time
from dataclasses import dataclass
from queue import Queue
from typing import Self

SEGMENT_BYTES = 1448
"""Payload of a TCP segment on Ethernet with time stamps."""

STALL_S = 0.2
READ_BYTES = 16 * SEGMENT_BYTES
RESET = struct.pack("ii", 1, 0)
"""Close with a reset: an orderly end within a TLS handshake is, to Flower, no reason to try again."""
AHEAD_CHUNKS = 8
"""Chunks that may be on their way; more would make the link a store."""


@dataclass(frozen=True)
class Quality:
    """What a link does to each direction of each connection.

    Attributes:
        bits_per_second: throughput of the direction, shared by nothing; None is unlimited.
        delay_s: from one end to the other.
        loss: share of segments that are lost once.
    """

    bits_per_second: float | None = None
    delay_s: float = 0.0
    loss: float = 0.0


PERFECT = Quality()
RURAL = Quality(bits_per_second=4e6, delay_s=0.05, loss=0.01)
"""4 Mbit/s, 50 ms, 1 % loss."""


class Link:
    """Listens on a free port of the loopback address and passes each connection on to `target`, from threads.

    Attributes:
        port: where it listens, once it is entered.
        quality: may be changed at any time; connections that run feel it at once.
        carried_bytes: what it has passed on, both ways.
        lost_segments: how many segments waited for a retransmission.
    """

    def __init__(self, target: tuple[str, int], quality: Quality = PERFECT, seed: int = 1) -> None:
        self.target, self.quality = target, quality
        self.port = 0
        self.carried_bytes = 0
        self.lost_segments = 0
        self._dice = random.Random(seed)  # noqa: S311 (weather, not a secret)
        self._ends: list[socket.socket] = []
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        self._listener = socket.create_server((self.target[0], 0))
        self.port = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._accept, name="link", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listener.close()
        with self._lock:
            for end in self._ends:
                _hang_up(end)

    def _accept(self) -> None:
        """Join each new connection to one of the target's; what the target refuses is refused."""
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            try:
                far = socket.create_connection(self.target, timeout=10)
            except OSError:
                near.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
                near.close()
                continue
            far.settimeout(None)
            with self._lock:
                self._ends = [end for end in self._ends if end.fileno() >= 0] + [near, far]
            for source, sink in ((near, far), (far, near)):
                way: Queue[tuple[float, bytes]] = Queue(AHEAD_CHUNKS)
                threading.Thread(target=self._take, args=(source, way), name="link-in", daemon=True).start()
                threading.Thread(target=self._deliver, args=(way, sink), name="link-out", daemon=True).start()

    def _take(self, source: socket.socket, way: Queue[tuple[float, bytes]]) -> None:
        """Take one direction in at the link's pace; an empty chunk marks its end."""
        chunk = b"begin"
        while chunk:
            try:
                chunk = source.recv(READ_BYTES)
            except OSError:
                chunk = b""
            time.sleep(self._sending_s(len(chunk)))
            way.put((time.monotonic() + self.quality.delay_s, chunk))

    def _sending_s(self, size_bytes: int) -> float:
        """Return how long a chunk takes to be sent, its retransmissions included."""
        quality, segments = self.quality, -(-size_bytes // SEGMENT_BYTES)
        lost = sum(self._dice.random() < quality.loss for _ in range(segments)) if quality.loss else 0
        self.lost_segments += lost
        return (8 * size_bytes / quality.bits_per_second if quality.bits_per_second else 0.0) + lost * STALL_S

    def _deliver(self, way: Queue[tuple[float, bytes]], sink: socket.socket) -> None:
        """Hand chunks on, in order, each when it is due; both ends are closed with the first direction that ends."""
        while True:
            due, chunk = way.get()
            time.sleep(max(0.0, due - time.monotonic()))
            if not chunk:
                _hang_up(sink)
                return
            with contextlib.suppress(OSError):  # where the sink is gone its own direction ends, and with it this one
                sink.sendall(chunk)
                self.carried_bytes += len(chunk)


def _hang_up(end: socket.socket) -> None:
    with contextlib.suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
    end.close()
