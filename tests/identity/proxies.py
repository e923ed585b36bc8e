"""A TLS server and the proxies that stand between it and a hospital, all on loopback."""

from __future__ import annotations

import base64
import contextlib
import socket
import ssl
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self


def serving(certificate: Path, key: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return context


@dataclass
class Listener:
    """Takes connections on a free port, each in a thread of its own, until its `with` ends."""

    tls: ssl.SSLContext | None = None
    seen: list[str] = field(default_factory=list)

    def __enter__(self) -> Self:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        for thread in self._threads:
            thread.join(5)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                plain, _ = self._socket.accept()
                plain.settimeout(5)
                thread = threading.Thread(target=self._take, args=(plain,))
                self._threads.append(thread)
                thread.start()

    def _take(self, plain: socket.socket) -> None:
        with contextlib.suppress(OSError), plain:
            if self.tls is None:
                self.handle(plain)
            else:
                with self.tls.wrap_socket(plain, server_side=True) as wrapped:
                    self.handle(wrapped)

    def handle(self, connection: socket.socket) -> None:
        raise NotImplementedError


class Server(Listener):
    """Answers every request with 200 and nothing, which Flower reads as an empty message."""

    def handle(self, connection: socket.socket) -> None:
        head = read_head(connection)
        self.seen.append(head.splitlines()[0])
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")


@dataclass
class Proxy(Listener):
    """Leads every CONNECT to one port, whatever name was asked for.

    Attributes:
        to: the server's port.
        login: `user:password` that it asks for.
        opens: shows a certificate of its own in the server's place, as an inspecting proxy does, and answers itself.
    """

    to: int = 0
    login: str | None = None
    opens: ssl.SSLContext | None = None

    def handle(self, connection: socket.socket) -> None:
        head = read_head(connection)
        if not head:
            return  # somebody looked whether anybody is there
        self.seen.append(head.splitlines()[0])
        wanted = "" if self.login is None else base64.b64encode(self.login.encode()).decode()
        if wanted and f"Proxy-Authorization: Basic {wanted}" not in head:
            connection.sendall(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
            return
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        if self.opens is not None:
            with self.opens.wrap_socket(connection, server_side=True) as opened:
                Server.handle(self, opened)  # type: ignore[arg-type]
            return
        with socket.create_connection(("127.0.0.1", self.to), timeout=5) as onward:
            back = threading.Thread(target=pump, args=(onward, connection))
            back.start()
            pump(connection, onward)
            back.join(5)


def pump(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        for piece in pieces(source):
            sink.sendall(piece)
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_WR)


def pieces(source: socket.socket) -> Iterator[bytes]:
    while piece := source.recv(65536):
        yield piece


def read_head(connection: socket.socket) -> str:
    head = b""
    for piece in pieces(connection):
        head += piece
        if b"\r\n\r\n" in head:
            break
    return head.decode("latin-1")
