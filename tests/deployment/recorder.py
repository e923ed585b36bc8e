"""Stands between nginx and the SuperLink, hands every call on, and keeps what the sites pushed, to be decoded."""

from __future__ import annotations

import http.client
import ssl
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self

HOST = "127.0.0.1"
PUSH_MESSAGES, PUSH_OBJECT = "/v1/fleet/push-messages", "/v1/fleet/push-object"
HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "host", "content-length"}


@dataclass
class Pushed:
    """The bodies of the calls that carry something from a site.

    Attributes:
        messages: of `push-messages`, in the order in which they came.
        objects: of `push-object`.
        paths: every path that was asked for.
    """

    messages: list[bytes] = field(default_factory=list)
    objects: list[bytes] = field(default_factory=list)
    paths: set[str] = field(default_factory=set)

    def answers(self) -> list[tuple[int, Any]]:
        """Return node and content, unwrapped, of every message that a site sent, decoded as Flower decodes it."""
        from flwr.app import Message
        from flwr.proto.fleet_pb2 import PushMessagesRequest
        from flwr.proto.message_pb2 import PushObjectRequest
        from flwr.supercore.inflatable.inflatable_utils import inflate_object_from_contents

        from common.parcel import unwrap

        contents: dict[str, bytes] = {}
        for body in self.objects:
            pushed = PushObjectRequest.FromString(body)
            contents[pushed.object_id] = pushed.object_content
        found = []
        for body in self.messages:
            call = PushMessagesRequest.FromString(body)
            for tree in call.message_object_trees:
                message = inflate_object_from_contents(tree.object_id, dict(contents))
                assert isinstance(message, Message)
                found.append((call.node.node_id, unwrap(message.content)))
        return found


class Recorder:
    """An HTTPS server on a free port of the loopback address, within its `with`.

    Args:
        superlink_port: where it hands calls on to.
        certificate, key: shown to nginx, which expects those of the SuperLink.
        authority: the certificate by which it knows the SuperLink.
    """

    def __init__(self, superlink_port: int, certificate: Path, key: Path, authority: Path) -> None:
        self.pushed = Pushed()
        onward = ssl.create_default_context(cafile=str(authority))
        self._server = ThreadingHTTPServer((HOST, 0), _handler(self.pushed, superlink_port, onward))
        shown = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        shown.load_cert_chain(certificate, key)
        self._server.socket = shown.wrap_socket(self._server.socket, server_side=True, do_handshake_on_connect=False)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, name="recorder", daemon=True)
        self.port: int = self._server.server_address[1]

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def _handler(pushed: Pushed, port: int, onward: ssl.SSLContext) -> type[BaseHTTPRequestHandler]:
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self._body()
            with lock:
                pushed.paths.add(self.path)
                if self.path == PUSH_MESSAGES:
                    pushed.messages.append(body)
                elif self.path == PUSH_OBJECT:
                    pushed.objects.append(body)
            headers = {name: value for name, value in self.headers.items() if name.lower() not in HOP_BY_HOP}
            link = http.client.HTTPSConnection("localhost", port, context=onward, timeout=300)
            try:
                link.request("POST", self.path, body, headers)
                answer = link.getresponse()
                content = answer.read()
            finally:
                link.close()
            self.send_response(answer.status)
            for name, value in answer.getheaders():
                if name.lower() not in HOP_BY_HOP:
                    self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def _body(self) -> bytes:
            """Return the request's body; nginx, which does not buffer, may hand it on in chunks."""
            if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
                return self.rfile.read(int(self.headers.get("Content-Length", 0)))
            parts = []
            while size := int(self.rfile.readline().split(b";")[0], 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(parts)

        def log_message(self, *_: object) -> None:
            """Say nothing: what matters is kept."""

    return Handler
