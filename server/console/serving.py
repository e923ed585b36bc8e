"""Serving the console: where it may listen, and with what."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from common.errors import StudyError

if TYPE_CHECKING:
    import uvicorn
    from fastapi import FastAPI

AT_ONCE = 64
"""Connections served at a time."""
MAX_HEADERS_BYTES = 16 * 1024
LOOPBACK = ("localhost", "127.0.0.1", "::1")


def hosts_of(host: str, names: Iterable[str]) -> set[str]:
    """Return the names under which a console on `host` may be asked for: its own, and the server's certificate's."""
    return {host, *names, *(LOOPBACK if is_loopback(host) else ())}


def is_loopback(host: str) -> bool:
    """Return whether only this machine reaches `host`."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def check_listening(host: str, certificate: Path | None, key: Path | None) -> None:
    """Raise StudyError where passwords would travel in clear, or a certificate lacks its key."""
    if (certificate is None) != (key is None):
        raise StudyError("--certificate and --key belong together; give both, or neither")
    if certificate is None and not is_loopback(host):
        raise StudyError(
            f"--host {host}: others could read passwords on their way; give --certificate and --key, "
            "or listen on 127.0.0.1 and reach it through `ssh -L 8080:127.0.0.1:8080 SERVER`"
        )
    for path in (certificate, key):
        if path is not None and not path.is_file():
            raise StudyError(f"{path}: is not there; give the PEM file")


def check_link(name: str, link: str | None) -> str | None:
    """Return a link to plots. Raises StudyError where it is not http or https."""
    if link is not None and (urlsplit(link).scheme not in ("http", "https") or not urlsplit(link).netloc):
        raise StudyError(f"--{name} {link}: give an address that begins with http:// or https://")
    return link


def server_of(app: FastAPI, host: str, port: int, certificate: Path | None, key: Path | None) -> uvicorn.Server:
    """Return the server, ready to `run()`."""
    import uvicorn

    return uvicorn.Server(
        uvicorn.Config(
            app,
            host=host,
            port=port,
            http="h11",
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,  # the address that limits log-ins is the one that really asks
            limit_concurrency=AT_ONCE,
            h11_max_incomplete_event_size=MAX_HEADERS_BYTES,
            timeout_graceful_shutdown=3,
            ssl_certfile=certificate,
            ssl_keyfile=key,
        )
    )
