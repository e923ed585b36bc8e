"""The three-hospital study over a real deployment, one hospital behind a proxy that asks for a password; slow."""

from __future__ import annotations

import json
import re
import shutil
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from flwr.proto.fleet_pb2 import ActivateNodeRequest, PullMessagesRequest
from flwr.proto.node_pb2 import Node
from flwr.supercore.primitives.asymmetric import public_key_to_bytes
from flwr.supernode.fleet_http_client import FleetHttpClient
from flwr.supernode.node_auth_http_interceptor import NodeAuthHttpInterceptor

from client.config import load_site
from common.identity.signing import SigningKey
from common.identity.site_key import load_site_key
from common.processes.ports import free_port, listens
from server.consortium.folder import Consortium
from tests.deployment.pages import ELSEWHERE, WALKS, due, lines
from tests.deployment.test_whole_way import check_sent, finish
from tests.deployment.walk import PAGES_RUN, Party, wait_until
from tests.deployment.way import Way, fingerprint_in, make, page_lines, start
from tests.identity.proxies import Proxy

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]

SCENARIO = Path(__file__).parents[2] / "simulations" / "scenarios" / "three-hospitals.toml"
DEPLOY = Path(__file__).parents[2] / "deploy"
SITES = ("hospital-a", "hospital-b", "hospital-c")
LOGIN = "it:secret"
WALK = "tests/deployment/test_three_hospitals.py"
CONSENT, LEAVING = (place for place in WALKS[WALK] if place.startswith("site.md"))


def small_study() -> str:
    """Return the three-hospital study with a round of three steps a stage, on a coarse grid."""
    text = SCENARIO.read_text(encoding="utf-8")
    for key, value in (("rounds", "1"), ("local_steps", "3"), ("batch_size", "2"), ("shape", "[48, 48]")):
        text = re.sub(rf"^{key} = [^#\n]*", f"{key} = {value}", text, flags=re.MULTILINE)
    return re.sub(r"^spacing_mm = .*", "spacing_mm = [4.0, 4.0, 8.0]", text, flags=re.MULTILINE)


@pytest.fixture(scope="module")
def proxy() -> Iterator[Proxy]:
    with Proxy(login=LOGIN) as started:
        yield started


@pytest.fixture(scope="module")
def way(tmp_path_factory: pytest.TempPathFactory, proxy: Proxy) -> Iterator[Way]:
    proxies = {"hospital-c": f"http://{LOGIN}@127.0.0.1:{proxy.port}"}
    with Way(tmp_path_factory.mktemp("three"), small_study(), SITES, 4, proxies) as made:
        proxy.to = made.port
        made.serve()
        yield made


def test_a_hospital_that_was_not_admitted_cannot_join_with_anothers_kit(way: Way, tmp_path: Path) -> None:
    (tmp_path / "scans").mkdir()
    stranger = Party(tmp_path, {"hospital-a": "hospital-d", "/data/scans": str(tmp_path / "scans")})
    (init,), (join,) = page_lines("join.md", "init"), page_lines("join.md", "join")
    stranger.type(init)
    shutil.copy(way.hospitals["hospital-a"].folder / "hospital-a.zip", tmp_path / "hospital-d.zip")
    assert "hospital-d" in stranger.type(join, answer=way.fingerprint, exit_code=5)
    key = load_site_key(tmp_path / "gliofed" / "keys" / "site.key").private
    assert isinstance(key, EllipticCurvePrivateKey)
    node = Node(node_id=way.server.ask(*page_lines("consortium.md", "sites"))[0]["node"])
    with FleetHttpClient.from_server_address(
        f"localhost:{way.port}",
        insecure=False,
        root_certificates=Consortium(way.server.folder / "consortium").ca.read_bytes(),
        interceptors=[NodeAuthHttpInterceptor(key, key.public_key())],
    ) as client:
        public = public_key_to_bytes(key.public_key())
        with pytest.raises(httpx.HTTPStatusError, match="4"):
            client.ActivateNode(ActivateNodeRequest(public_key=public, heartbeat_interval=30))
        with pytest.raises(httpx.HTTPStatusError, match="401"):
            client.PullMessages(PullMessagesRequest(node=node))


def test_the_study_runs_to_a_signed_release(way: Way, proxy: Proxy) -> None:
    doctor, *_ = page_lines("join.md", "doctor")
    for hospital in way.hospitals.values():
        hospital.type(doctor)
    digest = way.plan()
    run, pause, resume, status, watch = page_lines("consortium.md", "run", "pause", "resume", "status", "watch")
    way.approve()
    way.server.type(run)
    journal = Consortium(way.server.folder / "consortium").run(way.name) / "journal"
    wait_until(journal.exists, "the run has begun")
    for line in (pause, status, resume, watch):
        way.server.type(line)
    finish(way, journal.parent)
    check_sent(way, digest)
    assert any(line.startswith("CONNECT") for line in proxy.seen)


def test_a_study_that_nobody_approved_trains_nothing_and_is_no_success(way: Way) -> None:
    study = way.server.folder / "study.toml"
    text = study.read_text()
    pushed = len(way.recorder.pushed.answers())
    study.write_text(text.replace("seed = 1", "seed = 2"))
    for line in page_lines("consortium.md", "plan", "run"):
        way.server.type(line, more="--run other")
    (watch,) = page_lines("consortium.md", "watch")
    with naming_the_run(way, "other"):
        said = way.server.type(watch, exit_code=7)  # failed: nobody was there to train
    study.write_text(text)
    assert "not-approved" in said
    later = way.recorder.pushed.answers()[pushed:]
    assert later
    assert not any(content.array_records for _, content in later)


@contextmanager
def naming_the_run(way: Way, run: str) -> Iterator[None]:
    """Let the coordinator's lines speak of another run than the page's."""
    words = way.server.words
    name, words[PAGES_RUN] = words[PAGES_RUN], run
    yield
    words[PAGES_RUN] = name


def test_it_goes_on_once_people_approved_the_plan_that_it_brought_and_ends_where_one_stops_it(way: Way) -> None:
    plans, show, approve, ledger = page_lines(CONSENT, "plans", "show", "approve", "ledger")
    for site in SITES:
        (plan,) = [plan for plan in way.reader(site).ask(plans) if plan["state"] == "pending"]
        reader = way.reader(site, plan=plan["digest"][:8])
        assert "study seed" in reader.type(show)
        reader.type(approve, answer=way.name)
        reader.type(ledger)
    resume, status, watch = page_lines("consortium.md", "resume", "status", "watch")
    (stop,) = page_lines(LEAVING, "stop")
    with naming_the_run(way, "other"):
        way.server.type(resume)
        wait_until(lambda: way.server.ask(status)["state"] == "running", "the run goes on")
        way.reader("hospital-a", run=way.server.ask(status)["run"]).type(stop)
        assert "stopped" in way.server.type(watch, exit_code=6)  # incomplete: it needs hospital-a


def test_a_patient_goes_and_a_hospital_signs_with_a_key_of_its_own(way: Way) -> None:
    (withdraw,) = page_lines(LEAVING, "withdraw")
    assert "generator 1" in way.reader("hospital-a", patient="hospital-a-001").type(withdraw)
    generate, publish = (line for line in lines(CONSENT) if line.startswith("openssl "))
    reader = way.reader("hospital-a")
    reader.type(generate)
    assert reader.type(publish) == SigningKey.load(reader.folder / "signing-key.pem").public.pem


def test_a_hospital_gets_a_new_key(way: Way) -> None:
    (request,), (admit,), (join,) = (
        page_lines(page, verb)
        for page, verb in (("backup.md", "request"), ("consortium.md", "admit"), ("join.md", "join"))
    )
    hospital = way.hospitals["hospital-b"]
    fingerprint = fingerprint_in(way.reader("hospital-b").type(request))
    shutil.copy(hospital.folder / "gliofed" / "request.json", way.server.folder / "request.json")
    way.server.type(admit, answer=fingerprint, more="--replace-key")
    shutil.copy(way.server.folder / "consortium" / "kits" / "hospital-b.zip", hospital.folder / "hospital-b.zip")
    hospital.type(join)


def test_the_probe_of_health_finds_a_hospital_that_serves(way: Way) -> None:
    (probe,) = [line for line in lines("upgrade.md#3. Upgrade") if "health_probe" in line]
    hospital = way.hospitals["hospital-c"]
    port = load_site(hospital.folder / "gliofed" / "site.toml").monitoring.health_port
    hospital.words |= {"/opt/gliofed/current/bin/python": sys.executable, "127.0.0.1:9467": f"127.0.0.1:{port}"}
    hospital.type(probe)


def test_console_and_plots_show_the_run(way: Way) -> None:
    account, console, tracking, mirror = page_lines("consortium.md", "account", "console", "tracking", "mirror")
    ports = Consortium(way.server.folder / "consortium").settings.ports
    way.server.type(account, answer="correct horse battery staple", more="--password-stdin")
    start(way.stack, way.server, console)
    start(way.stack, way.server, tracking)
    wait_until(lambda: listens(ports.console) and listens(ports.mlflow), "console and MLflow listen")
    assert "password" in read(f"http://127.0.0.1:{ports.console}/login").lower()
    way.server.type(mirror)
    for port in (ports.metrics, *(way.metrics[site] for site in SITES)):
        assert "gliofed_" in read(f"http://127.0.0.1:{port}/metrics")


def test_prometheus_sees_coordinator_and_hospital_with_the_configuration_that_is_deployed(way: Way) -> None:
    ports = Consortium(way.server.folder / "consortium").settings.ports
    for role, port, figure in (
        ("server", ports.metrics, "gliofed_server_site_online"),
        ("site", way.metrics["hospital-c"], "gliofed_client_server_reached_age_seconds"),
    ):
        address = start_prometheus(way, role, port)
        wait_until(lambda: asked(address, f"{figure} and on(instance) up == 1") != [], f"{role}: {figure} is scraped")  # noqa: B023


def start_prometheus(way: Way, role: str, port: int) -> str:
    """Start Prometheus with a role's files of deploy/prometheus by the page's line, and return its address."""
    folder = make(way.folder / f"prometheus-{role}")
    shutil.copytree(DEPLOY / "prometheus", folder / "etc")
    config = folder / "etc" / f"{role}.yml"
    text = re.sub(r'"127\.0\.0\.1:\d+"', f'"127.0.0.1:{port}"', config.read_text())
    config.write_text(text.replace("15s", "1s"))
    own = free_port()
    (line,) = [line for line in lines("consortium.md") if line.startswith("prometheus ")]
    place = {"deploy/prometheus/server.yml": str(config), "./figures": str(folder / "data")}
    way.server.words |= place | {"127.0.0.1:9090": f"127.0.0.1:{own}"}
    start(way.stack, way.server, line)
    wait_until(lambda: listens(own), "Prometheus listens")
    return f"http://127.0.0.1:{own}"


def asked(address: str, query: str) -> list[Any]:
    """Return what Prometheus answers to a query."""
    answer = json.loads(read(f"{address}/api/v1/query?{urlencode({'query': query})}"))
    assert answer["status"] == "success"
    return list(answer["data"]["result"])


def test_every_other_command_of_the_pages_runs(way: Way) -> None:
    """Last, for it ends with a hospital that is shut out. Those that were run already are not run again."""
    for line in (line for place in WALKS[WALK] for line in lines(place)):
        if line in due(WALK) - way.typed:
            at_server = line.startswith("gliofed-server")
            (way.server if at_server else way.hospitals["hospital-a"]).type(line)
    sites = {site["name"]: site for site in way.server.ask(*page_lines("consortium.md", "sites"))}
    assert sites["hospital-a"]["health"] == "revoked"
    assert due(WALK) <= way.typed
    assert not way.typed & ELSEWHERE.keys()


def read(url: str) -> str:
    """Return what a URL of the loopback address answers."""
    with urllib.request.urlopen(url, timeout=30) as answer:  # noqa: S310
        return str(answer.read().decode())
