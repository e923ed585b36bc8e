"""The nginx configuration: one TLS port, through which sites reach the Fleet API's calls and nothing else.

Flower serves its Control API, which asks nobody who he is, on the same port as the Fleet API. nginx is the wall between
them: ten paths, word for word as they were sent, by POST; everything else is 404.
"""

from __future__ import annotations

import string
from pathlib import Path

from common.errors import StudyError
from common.files import make_folder
from common.processes.flower import LOOPBACK
from server.consortium.folder import Consortium

CALLS = (
    *(
        "activate-node",
        "deactivate-node",
        "send-node-heartbeat",
        "pull-messages",
        "push-messages",
        "get-run",
        "get-fab",
    ),
    *("push-object", "pull-object", "confirm-message-received"),
)
"""What a SuperNode calls whose key was registered; `register-node` is for keys that nobody knows."""

MAX_BODY_MB = 16
"""Flower sends arrays in pieces of 5 MB."""


class Page(string.Template):
    """A page of nginx's, whose own names begin with a dollar sign and ours with an @."""

    delimiter = "@"


TEMPLATE = """\
# GlioFed: sites reach the Fleet API of the consortium @{name}, and nothing else.
# Made by `gliofed-server nginx`; a certificate that is renewed needs a reload, no new configuration.

limit_req_zone $binary_remote_addr zone=gliofed_calls:4m rate=200r/s;
limit_conn_zone $binary_remote_addr zone=gliofed_connections:4m;

upstream gliofed_superlink {
    server @{loopback}:@{fleet_port};
    keepalive 32;
}

server {
    listen @{port} ssl;
    server_name @{hosts};
    server_tokens off;

    ssl_certificate @{certificate};
    ssl_certificate_key @{key};
    ssl_protocols TLSv1.2 TLSv1.3;
    ssl_ciphers ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-ECDSA-AES128-GCM-SHA256;
    ssl_session_cache shared:gliofed:4m;
    ssl_session_tickets off;

    # An update comes in pieces; a larger request is none of Flower's.
    client_max_body_size @{max_body_mb}m;
    client_header_timeout 30s;
    client_body_timeout 120s;
    send_timeout 120s;
    keepalive_timeout 75s;

    # Bursts of pieces pass without delay; a flood is answered with 503, after which a SuperNode tries again.
    limit_req zone=gliofed_calls burst=4000 nodelay;
    limit_conn gliofed_connections 64;

    location / {
        return 404;
    }

    location ~ "^/v1/fleet/(@{calls})$" {
        # The path as it was sent, not as nginx reads it: no dot, no escape and no query reaches the SuperLink.
        if ($request_uri !~ "^/v1/fleet/[a-z-]+$") {
            return 404;
        }
        if ($request_method != POST) {
            return 404;
        }
        proxy_pass https://gliofed_superlink;
        proxy_http_version 1.1;
        proxy_set_header Connection "";
        proxy_set_header Host $host;
        proxy_ssl_protocols TLSv1.2 TLSv1.3;
        proxy_ssl_trusted_certificate @{authority};
        proxy_ssl_verify on;
        proxy_ssl_name localhost;

        # Nothing of a hospital's is written to this disk on its way.
        proxy_request_buffering off;
        proxy_buffering off;
        proxy_max_temp_file_size 0;

        # The SuperLink answers a call at once, or after it has written to its database.
        proxy_connect_timeout 10s;
        proxy_read_timeout 300s;
        proxy_send_timeout 300s;
    }
}
"""

ALONE = """\
# A whole configuration: `nginx -c THIS`, as any user where the port allows it.
worker_processes auto;
daemon off;
pid "@{folder}/nginx.pid";
error_log "@{logs}/nginx.error.log";

events {
    worker_connections 4096;
}

http {
    access_log "@{logs}/nginx.access.log";
    client_body_temp_path "@{folder}/body";
    proxy_temp_path "@{folder}/proxy";
    fastcgi_temp_path "@{folder}/fastcgi";
    uwsgi_temp_path "@{folder}/uwsgi";
    scgi_temp_path "@{folder}/scgi";

@{inner}}
"""


def configuration(consortium: Consortium, alone: bool = False) -> str:
    """Return the configuration of a consortium, to be included in nginx's `http`, or `alone` a whole one.

    Raises:
        StudyError: where the folder's name holds what nginx would not read as part of a name.
    """
    settings = consortium.settings
    inner = Page(TEMPLATE).substitute(
        name=settings.name,
        loopback=LOOPBACK,
        port=settings.port,
        fleet_port=settings.fleet_port,
        hosts=" ".join(settings.hosts),
        certificate=_quoted(consortium.server_certificate),
        key=_quoted(consortium.server_key),
        authority=_quoted(consortium.ca),
        calls="|".join(CALLS),
        max_body_mb=MAX_BODY_MB,
    )
    if not alone:
        return inner
    folder = consortium.flower / "nginx"
    indented = "".join(f"    {line}" if line.strip() else line for line in inner.splitlines(keepends=True))
    _quoted(folder)
    return Page(ALONE).substitute(folder=folder, logs=consortium.logs, inner=indented)


def make_folders(consortium: Consortium) -> None:
    """Make the folders that an nginx of its own writes to."""
    for folder in (consortium.flower / "nginx", consortium.logs):
        make_folder(folder)


def _quoted(path: Path) -> str:
    """Return a path as nginx reads it back."""
    if wrong := sorted({letter for letter in str(path) if letter in "\"'\\${};#" or not letter.isprintable()}):
        raise StudyError(
            f"{path}: nginx cannot be told a path with {' '.join(map(repr, wrong))}; choose another folder"
        )
    return f'"{path}"'
