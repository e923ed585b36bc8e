"""What every request passes before any page sees it, and every answer after: host, size, patience, headers."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

MAX_BODY_BYTES = 8 * 1024
"""The largest form is the one that logs in."""
BODY_S = 10.0

POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "form-action 'self'",
        "frame-ancestors 'none'",
        "base-uri 'none'",
    )
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
YEAR_S = 31_536_000


class Doorkeeper:
    """ASGI middleware around the console.

    Args:
        hosts: names under which the console may be asked for; another one is somebody's page that a browser was sent
            to this address with.
        secure: whether it is served over TLS.
    """

    def __init__(self, app: ASGIApp, hosts: Iterable[str], secure: bool) -> None:
        self._app, self._hosts = app, {host.lower() for host in hosts}
        self._headers = HEADERS | ({"Strict-Transport-Security": f"max-age={YEAR_S}"} if secure else {})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let one request through, or answer it here."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def sealed(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update(self._headers)
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        if host_of(Headers(scope=scope).getlist("host")) not in self._hosts:
            await _refuse(421, "This console is not served under that name.")(scope, receive, sealed)
            return
        try:
            body = await asyncio.wait_for(_whole_body(Headers(scope=scope), receive), BODY_S)
        except TimeoutError:
            await _refuse(408, "The request took too long.")(scope, receive, sealed)
            return
        if body is None:
            await _refuse(413, "The request is too large.")(scope, receive, sealed)
            return
        await self._app(scope, _again(body, receive), sealed)


def host_of(values: list[str]) -> str | None:
    """Return the name in a Host header, without its port; None where there is not exactly one."""
    if len(values) != 1:
        return None
    value = values[0].lower()
    if value.startswith("["):
        return value[1:].partition("]")[0]
    return value.partition(":")[0]


async def _whole_body(headers: Headers, receive: Receive) -> bytes | None:
    """Return the body, None where it is larger than it may be, whatever its header says."""
    said = headers.get("content-length", "0")
    if not said.isdecimal() or int(said[:12]) > MAX_BODY_BYTES:
        return None
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
        if len(body) > MAX_BODY_BYTES:
            return None
    return body


def _again(body: bytes, receive: Receive) -> Receive:
    """Return a `receive` that gives the body that was read, then what comes after it."""
    waiting: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def give() -> Message:
        return waiting.pop() if waiting else await receive()

    return give


def _refuse(status: int, text: str) -> PlainTextResponse:
    return PlainTextResponse(text + "\n", status, {"Connection": "close"})
