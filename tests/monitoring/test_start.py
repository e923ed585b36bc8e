"""Both sides are watched by one call, tell the truth within two heartbeats, and leave nothing behind."""

import socket
import threading
from types import SimpleNamespace

import pytest

from client.enrolment.folder import SiteFolder
from client.monitoring.start import start_monitoring as watch_site
from client.monitoring.start import watched_if_possible
from client.privacy.ledger import Entry, Ledger
from common.health_probe import probe
from common.identity.certificates import Authority
from server.monitoring.start import start_monitoring as watch_server

FAST_S = 0.2


def test_a_site_that_reaches_the_server_is_well_and_one_that_lost_it_is_not(joined, tls_server, scrape, eventually):
    with watch_site(joined(tls_server), lambda: True) as found:
        health = f"127.0.0.1:{found.health_port}"
        eventually(lambda: probe(health) == "SERVING")
        assert scrape(found.metrics_port)["gliofed_client_server_reached_age_seconds"][()] < 2
        tls_server.status = 503
        eventually(lambda: probe(health) == "NOT_SERVING")
        assert probe(health, "server") == "NOT_SERVING"
        assert probe(health, "supernode") == "SERVING"
        figures = scrape(found.metrics_port)
        assert figures["gliofed_client_healthy"] == {(("check", "server"),): 0, (("check", "supernode"),): 1}
        assert figures["gliofed_part_read"][(("part", "server"),)] == 0
        tls_server.status = 401
        eventually(lambda: probe(health) == "SERVING")


def test_a_site_whose_supernode_died_is_unhealthy(joined, tls_server, eventually):
    lives = [True]
    with watch_site(joined(tls_server), lambda: lives[0]) as found:
        eventually(lambda: probe(f"127.0.0.1:{found.health_port}") == "SERVING")
        lives[0] = False
        eventually(lambda: probe(f"127.0.0.1:{found.health_port}") == "NOT_SERVING")


def test_a_sites_figures_are_those_of_its_disk(joined, tls_server, scrape, eventually, monkeypatch):
    workdir = joined(tls_server).work
    (workdir / "plans").mkdir(exist_ok=True)
    for digest in ("a" * 64, "b" * 64):
        (workdir / "plans" / f"{digest}.json").touch()
    monkeypatch.setattr("client.consent.approvals.approved", lambda _: [SimpleNamespace(digest="a" * 64)])
    if not Ledger(workdir).entries():
        Ledger(workdir).reserve(Entry("c" * 64, "tiny", "d" * 16, "segmenter", 1, 10, 0.1, 1.0, 1e-5), lambda _: None)
    with watch_site(joined(tls_server, "epsilon_budget = 8.0"), lambda: True) as found:
        eventually(lambda: all(scrape(found.metrics_port)["gliofed_part_read"].values()), 30)
        figures = scrape(found.metrics_port)
    one = {name: values[()] for name, values in figures.items() if set(values) == {()}}
    assert figures["gliofed_client_cases"] == {
        (("sequence", "T1"),): 3, (("sequence", "T1Gd"),): 1, (("sequence", "T2"),): 1, (("sequence", "FLAIR"),): 1,
    }  # fmt: skip
    assert one["gliofed_client_patients"] == 3
    assert [
        (dict(labels)["stage"], value) for labels, value in figures["gliofed_client_last_round_number"].items()
    ] == [("synthesiser", 2)]
    assert one["gliofed_client_epsilon_spent_ratio"] == pytest.approx(one["gliofed_client_epsilon_spent"] / 8)
    assert 0 < one["gliofed_client_epsilon_spent"] < 8
    assert figures["gliofed_client_plans"] == {(("state", "approved"),): 1, (("state", "pending"),): 1}
    assert figures["gliofed_client_certificate_left_seconds"][(("certificate", "server"),)] == pytest.approx(
        20 * 86400, abs=600
    )
    assert figures["gliofed_client_certificate_left_seconds"][(("certificate", "authority"),)] > 3000 * 86400
    assert 0 < one["gliofed_client_disk_free_bytes"] < one["gliofed_client_disk_size_bytes"]


def test_the_days_of_an_inspecting_proxys_certificate_are_nobodys_figure(joined, tls_server, tmp_path, monkeypatch):
    inspection = tmp_path / "inspection.crt"
    inspection.write_bytes(tls_server.ca.read_bytes())
    place = joined(tls_server)
    Authority.create("the consortium").save(place.ca, tmp_path / "consortium.key")
    monkeypatch.setattr("client.monitoring.start.root_certificates", lambda site: inspection)
    with watch_site(place, lambda: True) as found:
        found.heartbeat.refresh()
        assert found.heartbeat.latest().certificate_left_s is None


def test_no_figure_holds_a_path_or_an_identifier(joined, tls_server, scrape, eventually):
    config = joined(tls_server).config
    with watch_site(joined(tls_server), lambda: True) as found:
        eventually(lambda: "gliofed_client_cases" in scrape(found.metrics_port))
        text = repr(scrape(found.metrics_port))
    for secret in (str(config.folder), str(config.workdir), "BraTS2021_001", "patient-0", "case-0"):
        assert secret not in text


def test_a_coordinators_figures_are_those_of_its_folder(consortium, nodes, scrape, eventually):
    with watch_server(consortium, lambda: nodes, lambda: True, FAST_S) as found:
        eventually(lambda: all(scrape(found.metrics_port)["gliofed_part_read"].values()))
        figures = scrape(found.metrics_port)
        assert probe(f"127.0.0.1:{found.health_port}") == "SERVING"
    assert found.metrics_port == consortium.settings.ports.metrics
    a, b = ((("site", f"hospital-{letter}"),) for letter in "ab")
    assert figures["gliofed_server_site_online"] == {a: 1, b: 0}
    assert figures["gliofed_server_site_seen_age_seconds"][a] < 1000  # a slow machine's time, not an hour
    assert figures["gliofed_server_site_seen_age_seconds"][b] == pytest.approx(3600, abs=1000)
    left = figures["gliofed_server_certificate_left_seconds"]
    assert left[(("certificate", "server"),)] == pytest.approx(397 * 86400, abs=86400)
    assert figures["gliofed_server_run_state"][(("run", "first"), ("state", "complete"))] == 1


def test_a_superlink_that_does_not_answer_and_a_dead_process_are_unhealthy(consortium, nodes, eventually):
    answers, lives = [nodes], [True]
    with watch_server(consortium, lambda: answers[0], lambda: lives[0], FAST_S) as found:
        health = f"127.0.0.1:{found.health_port}"
        eventually(lambda: probe(health) == "SERVING")
        answers[0] = None
        eventually(lambda: probe(health, "superlink") == "NOT_SERVING")
        answers[0] = nodes
        eventually(lambda: probe(health) == "SERVING")
        lives[0] = False
        eventually(lambda: probe(health, "processes") == "NOT_SERVING")


def test_a_site_whose_port_is_taken_serves_unwatched_and_says_so(joined, tls_server, caplog):
    place = joined(tls_server)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        place.toml.write_text(place.toml.read_text().replace("health_port = 0", f"health_port = {port}"))
        with watched_if_possible(SiteFolder(place.toml), lambda: True):
            assert f"127.0.0.1:{port}" in caplog.text
            assert "nobody watches this site" in caplog.text


def test_nothing_is_left_behind(joined, tls_server, consortium, nodes, eventually):
    before = set(threading.enumerate())
    with watch_site(joined(tls_server), lambda: True), watch_server(consortium, lambda: nodes, lambda: True, FAST_S):
        pass

    def gone():
        # the server's own handler threads and gRPC's pools aside
        return not [each for each in set(threading.enumerate()) - before if each.name.startswith("monitoring-")]

    eventually(gone)


def test_the_page_lists_every_figure_with_its_labels_and_its_sentence(repository):
    import re

    from client.monitoring.metrics import METRICS as CLIENT
    from common.monitoring.exporter import PART_READ
    from server.monitoring.metrics import METRICS as SERVER

    page = (repository / "docs" / "reference" / "metrics.md").read_text("utf-8")
    rows = re.findall(r"^\| `(gliofed_\w+)` \| (.*?) \| (.*?) \|$", page, re.MULTILINE)
    listed = {name: (tuple(re.findall(r"`(\w+)`", labels)), about) for name, labels, about in rows}
    assert listed == {each.name: (each.labels, each.about) for each in (*CLIENT, *SERVER, PART_READ)}
    assert len(rows) == len(listed)


def test_every_name_has_the_prefix_and_its_unit_last():
    from client.monitoring.metrics import METRICS as CLIENT
    from server.monitoring.metrics import METRICS as SERVER

    for metric in (*CLIENT, *SERVER):
        assert metric.name.startswith(("gliofed_client_", "gliofed_server_"))
        words = metric.name.removesuffix("_total").split("_")
        for unit in ("seconds", "bytes", "ratio"):
            assert unit not in words[:-1], metric.name
