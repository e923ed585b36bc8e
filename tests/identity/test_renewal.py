"""A renewed certificate is shown once nginx is told to read it; nothing is restarted, and what is under way goes on."""

from __future__ import annotations

import http.server
import os
import shutil
import signal
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from server.consortium.folder import Consortium
from server.consortium.renewal import renew
from tests.identity.conftest import HOST, World

NGINX = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
CONFIG = """
daemon off; pid {folder}/nginx.pid; error_log {folder}/error.log; worker_processes 1;
events {{ }}
http {{
  access_log off; client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  server {{
    listen 127.0.0.1:{port} ssl;
    ssl_certificate {certificate}; ssl_certificate_key {key};
    location / {{ proxy_pass http://127.0.0.1:{behind}; }}
  }}
}}
"""


class Echo(http.server.BaseHTTPRequestHandler):
    """Answers with the length of what was sent."""

    def do_POST(self) -> None:
        body = str(len(self.rfile.read(int(self.headers["Content-Length"])))).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def behind() -> Iterator[int]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Echo) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


@contextmanager
def nginx(folder: Path, place: Consortium, onward: int) -> Iterator[tuple[int, subprocess.Popen[bytes]]]:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    config = folder / "nginx.conf"
    files = {"certificate": place.server_certificate, "key": place.server_key}
    config.write_text(CONFIG.format(folder=folder, port=port, behind=onward, **files))
    assert NGINX is not None, "nginx is not installed: make system"
    with subprocess.Popen([NGINX, "-p", str(folder), "-e", str(folder / "error.log"), "-c", str(config)]) as running:
        try:
            wait_until(lambda: answers(port), "nginx listens")
            yield port, running
        finally:
            running.terminate()


def answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def wait_until(true: Callable[[], bool], what: str, patience_s: float = 20) -> None:
    until = time.monotonic() + patience_s
    while not true():
        assert time.monotonic() < until, what
        time.sleep(0.05)


def connect(place: Consortium, port: int) -> ssl.SSLSocket:
    trusting = ssl.create_default_context(cafile=str(place.ca))
    return trusting.wrap_socket(socket.create_connection(("127.0.0.1", port), 10), server_hostname=HOST)


def shown(place: Consortium, port: int) -> str:
    with connect(place, port) as connection:
        der = connection.getpeercert(True)
    assert der is not None
    return ssl.DER_cert_to_PEM_cert(der)


def test_nginx_shows_the_renewed_certificate_and_a_request_under_way_ends_well(world: World, tmp_path: Path) -> None:
    place = world.consortium
    with behind() as onward, nginx(tmp_path, place, onward) as (port, running):
        first = place.server_certificate.read_text()
        assert shown(place, port) == first
        with connect(place, port) as under_way:
            under_way.sendall(f"POST / HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 10\r\n\r\n12345".encode())
            renew(place)
            assert shown(place, port) == first, "nginx reads its files only when it is told to"
            running.send_signal(signal.SIGHUP)
            renewed = place.server_certificate.read_text()
            wait_until(lambda: shown(place, port) == renewed, "nginx shows the renewed certificate")
            under_way.sendall(b"67890")
            assert under_way.recv(4096).startswith(b"HTTP/1.1 200 OK")
        assert running.poll() is None
