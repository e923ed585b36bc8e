"""Health and figures of a real deployment: the heartbeat goes through nginx to the SuperLink, as a SuperNode's does."""

import os
import signal
import urllib.request

from client.monitoring.heartbeat import CALL
from common.health_probe import probe
from tests.closed.place import process_of, wait_until


def test_the_coordinator_is_healthy_and_knows_its_sites(place):
    ports = place.consortium.settings.ports
    wait_until(lambda: probe(f"127.0.0.1:{ports.health}") == "SERVING", "the coordinator is healthy")

    def figures():
        with urllib.request.urlopen(f"http://127.0.0.1:{ports.metrics}/metrics", timeout=10) as answer:
            return answer.read().decode()

    for site in place.sites:
        wait_until(lambda site=site: f'site_online{{site="{site}"}} 1.0' in figures(), f"{site} is online")


def test_a_site_is_healthy_while_it_reaches_the_superlink_and_its_supernode_lives(place):
    monitoring = place.sites["hospital-a"].config.monitoring
    health, log = f"127.0.0.1:{monitoring.health_port}", place.consortium.logs / "superlink.log"
    before = log.read_text()  # what strangers called in other tests is in it
    wait_until(lambda: probe(health) == "SERVING", "the site is healthy")
    wait_until(lambda: log.read_text().count(CALL) > before.count(CALL), "it has sent a heartbeat")
    with urllib.request.urlopen(f"http://127.0.0.1:{monitoring.metrics_port}/metrics", timeout=10) as answer:
        figures = answer.read().decode()
    assert 'gliofed_client_healthy{check="server"} 1.0' in figures
    assert 'gliofed_client_certificate_left_seconds{certificate="server"}' in figures
    assert "ApiError" not in log.read_text()[len(before) :], "a heartbeat of ours is no error to the SuperLink"


def test_nginx_alone_is_not_the_server(place):
    """With nginx there and the SuperLink stopped, two heartbeats are missed and the site says so."""
    monitoring = place.sites["hospital-a"].config.monitoring
    health = f"127.0.0.1:{monitoring.health_port}"
    wait_until(lambda: probe(health) == "SERVING", "the site is healthy")
    superlink = process_of(str(place.consortium.superlink_database))
    os.kill(superlink, signal.SIGSTOP)
    try:
        wait_until(lambda: probe(health, "server") == "NOT_SERVING", "the site has noticed")
        assert probe(health, "supernode") == "SERVING"
    finally:
        os.kill(superlink, signal.SIGCONT)
    wait_until(lambda: probe(health) == "SERVING", "the site is healthy again")
