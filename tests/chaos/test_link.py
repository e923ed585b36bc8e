"""A link that can be made bad passes everything on, in order, at the pace and with the losses that it was given."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from simulations.deployment.link import SEGMENT_BYTES, STALL_S, Link, Quality

HOST = "127.0.0.1"
BLOB = bytes(range(256)) * 400


@contextmanager
def echo() -> Iterator[int]:
    """A server that sends back what it gets, until the other side says no more."""
    with socket.create_server((HOST, 0)) as server:

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection:
                    while chunk := connection.recv(65536):
                        connection.sendall(chunk)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)
        thread.join(5)


def there_and_back(port: int, blob: bytes) -> tuple[bytes, float]:
    began, back = time.monotonic(), b""
    with socket.create_connection((HOST, port), timeout=20) as connection:
        connection.sendall(blob)
        while len(back) < len(blob):
            back += connection.recv(65536)
    return back, time.monotonic() - began


def refuses(connection: socket.socket) -> bool:
    try:
        connection.recv(1)
    except ConnectionResetError:
        return True
    return False


def test_a_perfect_link_passes_every_byte_both_ways() -> None:
    with echo() as port, Link((HOST, port)) as link:
        back, _ = there_and_back(link.port, BLOB)
        assert back == BLOB
        assert link.lost_segments == 0


def test_a_slow_and_far_link_takes_as_long_as_it_must() -> None:
    with echo() as port, Link((HOST, port), Quality(bits_per_second=4e6, delay_s=0.05)) as link:
        back, seconds = there_and_back(link.port, BLOB)
    assert back == BLOB
    assert seconds >= 8 * len(BLOB) / 4e6 + 2 * 0.05


def test_each_lost_segment_holds_up_what_is_behind_it() -> None:
    with echo() as port, Link((HOST, port), Quality(loss=0.02)) as link:
        back, seconds = there_and_back(link.port, BLOB)
        lost = link.lost_segments
    assert back == BLOB
    assert 0 < lost < 0.2 * 2 * len(BLOB) / SEGMENT_BYTES
    assert seconds >= STALL_S * lost / 2, "losses there and back may overlap"


def test_the_quality_may_change_while_a_connection_runs() -> None:
    with echo() as port, Link((HOST, port)) as link:
        there_and_back(link.port, b"quick")
        link.quality = Quality(delay_s=0.2)
        _, seconds = there_and_back(link.port, b"slow")
    assert seconds >= 0.4


def test_where_nobody_listens_the_link_refuses_with_a_reset() -> None:
    with socket.create_server((HOST, 0)) as server:
        port = server.getsockname()[1]
    with Link((HOST, port)) as link, socket.socket() as connection:
        connection.settimeout(5)
        with contextlib.suppress(ConnectionResetError):  # it may be there before connect has returned
            connection.connect((HOST, link.port))
            assert refuses(connection)
