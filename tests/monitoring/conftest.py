"""A consortium and a site small enough to know every figure of, a server to reach, and a proxy on the way to it."""

from __future__ import annotations

import base64
import re
import select
import socket
import ssl
import threading
import time
import urllib.request
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from simulations.environment import quieten_flower

quieten_flower()

from client.app import make_app  # noqa: E402
from client.config import load_site  # noqa: E402
from client.enrolment.folder import SiteFolder  # noqa: E402
from common.identity.card import write_card  # noqa: E402
from common.identity.certificates import Authority  # noqa: E402
from common.roster_file import Roster, RosterSite, write_roster  # noqa: E402
from server.consortium.beginning import begin_consortium  # noqa: E402
from server.consortium.folder import Consortium  # noqa: E402
from server.consortium.settings import ConsortiumSettings, Ports  # noqa: E402
from server.facts.fleet import NodeSeen  # noqa: E402
from simulations.chaos.arithmetic import BENCH, arithmetic_study, build_arithmetic, open_cached, write_site  # noqa: E402
from simulations.deployment.deployment import free_port  # noqa: E402
from simulations.federation import run_federation  # noqa: E402

SITES = ("hospital-a", "hospital-b")
USER, PASSWORD = "site", "s3cret"


class Answering(BaseHTTPRequestHandler):
    """Answers every call with the server's status."""

    def do_POST(self):
        self.server.seen.append(self.path)
        self.send_response(self.server.status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def date_time_string(self, timestamp=None):
        return super().date_time_string(time.time() - self.server.behind_s)

    def log_message(self, *_):
        pass


@contextmanager
def serving(server):
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def tls_server_in(folder):
    """Serve with a certificate of 20 days; `.address`, `.ca`, `.status`, `.seen`, `.behind_s`."""
    ca, key = folder / "ca.crt", folder / "server.key"
    authority = Authority.create("the consortium")
    authority.save(ca, folder / "ca.key")
    authority.issue(("127.0.0.1",), folder / "server.crt", key, timedelta(days=20))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.crt", key)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Answering)
    server.daemon_threads = True
    server.handle_error = lambda *_: None  # who does not trust it hangs up
    server.socket = context.wrap_socket(server.socket, server_side=True)
    server.status, server.seen, server.behind_s, server.ca = 401, [], 0.0, ca
    server.address = f"127.0.0.1:{server.server_port}"
    with serving(server):
        yield server


@pytest.fixture
def tls_server(tmp_path):
    """The coordinator's server."""
    with tls_server_in(tmp_path) as server:
        yield server


@pytest.fixture(scope="module")
def lasting_server(tmp_path_factory):
    """The same for a whole module."""
    with tls_server_in(tmp_path_factory.mktemp("tls")) as server:
        yield server


class Connecting(BaseHTTPRequestHandler):
    """Answers CONNECT for who shows the password."""

    def do_CONNECT(self):
        wanted = "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        if self.headers.get("Proxy-Authorization") != wanted:
            self.send_response(407)
            self.send_header("Proxy-Authenticate", "Basic")
            self.end_headers()
            return
        self.server.tunnels.append(self.path)
        host, _, port = self.path.partition(":")
        with socket.create_connection((host, int(port))) as onward:
            self.send_response(200)
            self.end_headers()
            while ready := select.select([self.connection, onward], [], [], 5)[0]:
                for end in ready:
                    blob = end.recv(65536)
                    if not blob:
                        return
                    (onward if end is self.connection else self.connection).sendall(blob)

    def log_message(self, *_):
        pass


@pytest.fixture
def proxy():
    """An authenticating CONNECT proxy; `.url` holds user and password, `.open_url` does not."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Connecting)
    server.daemon_threads, server.tunnels = True, []
    server.url = f"http://{USER}:{PASSWORD}@127.0.0.1:{server.server_port}"
    server.open_url = f"http://127.0.0.1:{server.server_port}"
    with serving(server):
        yield server


@pytest.fixture(scope="session")
def consortium(tmp_path_factory):
    """Two hospitals on the roster, and one complete run named `first` of two stages, two rounds each."""
    root = tmp_path_factory.mktemp("monitored")
    ports = Ports(hub=free_port(), metrics=free_port(), health=free_port(), console=free_port(), mlflow=free_port())
    made = Consortium(root / "consortium")
    begin_consortium(made, ConsortiumSettings(name="tiny", hosts=("127.0.0.1",), ports=ports))
    write_roster(made.roster, Roster(sites={site: RosterSite(node=n) for n, site in enumerate(SITES, start=11)}))
    sites = {site: write_site(root / "sites" / site, site) for site in SITES}
    client = make_app(open_cached, BENCH)
    run_federation(arithmetic_study(SITES), sites, made.run("first"), client=client, build=build_arithmetic)
    made.sites = sites
    return made


@pytest.fixture(scope="session")
def site(consortium):
    """The `site.toml` of hospital-a, which has trained in the run; three cases by their names."""
    path = consortium.sites["hospital-a"]
    config = load_site(path)
    for case, sequences in {"001": ("t1", "t1ce", "flair"), "002": ("t1", "t2"), "003": ("t1",)}.items():
        folder = config.folder / f"BraTS2021_{case}"
        folder.mkdir(exist_ok=True)
        for sequence in sequences:
            (folder / f"BraTS2021_{case}_{sequence}.nii.gz").touch()
    return path


@pytest.fixture(scope="session")
def joined(site):
    """Return `site` as it joined the consortium of a server, with free ports and a quick heartbeat."""

    def join(server, policy="", heartbeat_s=0.2):
        place = SiteFolder(site.with_name("joined.toml"))
        monitoring = f"[monitoring]\nmetrics_port = 0\nhealth_port = 0\nheartbeat_s = {heartbeat_s}\n"
        place.toml.write_text(f"{site.read_text()}{policy}\n{monitoring}")
        place.kit.mkdir(exist_ok=True)
        place.ca.write_bytes(server.ca.read_bytes())
        host, _, port = server.address.partition(":")
        card = write_card("tiny", host, int(port), "SHA256:" + "A" * 43, b"", b"", "0.1.0")
        place.card.write_bytes(card.to_json())
        return place

    return join


@pytest.fixture(scope="session")
def nodes():
    """What a SuperLink says: hospital-a is there, hospital-b went an hour ago."""
    now = datetime.now(UTC)
    return {
        11: NodeSeen("online", now),
        12: NodeSeen("offline", now - timedelta(hours=1)),
    }


@pytest.fixture
def scrape():
    """Read the figures on a port: `{name: {((label, value), …): figure}}`."""

    def read(port):
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
            return figures(answer.read().decode())

    return read


def figures(text):
    found = {}
    for name, labels, value in re.findall(r"^(\w+)(?:\{(.*)\})? (\S+)$", text, re.MULTILINE):
        found.setdefault(name, {})[tuple(re.findall(r'(\w+)="([^"]*)"', labels))] = float(value)
    return found


@pytest.fixture
def eventually():
    """Wait until something holds, at most so long."""

    def wait(holds, patience_s=10.0):
        until = time.monotonic() + patience_s
        while not holds():
            assert time.monotonic() < until, "it never came to hold"
            time.sleep(0.02)

    return wait


@pytest.fixture(scope="session")
def repository():
    """The repository's root."""
    return Path(__file__).parents[2]
