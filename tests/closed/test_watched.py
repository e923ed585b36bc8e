"""Health and figures of a real deployment: the heartbeat goes through nginx to the SuperLink, as a SuperNode's does."""

import os
import signal
import urllib.request

from common.health_probe import probe
from tests.closed.place import wait_until


def test_a_site_is_healthy_while_it_reaches_the_superlink_and_its_supernode_lives(place):
    monitoring = place.sites["hospital-a"].config.monitoring
    health = f"127.0.0.1:{monitoring.health_port}"
    wait_until(lambda: probe(health) == "SERVING", "the site is healthy")
    with urllib.request.urlopen(f"http://127.0.0.1:{monitoring.metrics_port}/metrics", timeout=10) as answer:
        figures = answer.read().decode()
    assert 'gliofed_client_healthy{check="server"} 1.0' in figures
    assert 'gliofed_client_certificate_left_seconds{certificate="server"}' in figures
    assert "send-node-heartbeat" not in (place.consortium.logs / "superlink.log").read_text().replace("401", "")


def test_nginx_alone_is_not_the_server(place):
    """With nginx there and the SuperLink stopped, two heartbeats are missed and the site says so."""
    monitoring = place.sites["hospital-b"].config.monitoring
    health = f"127.0.0.1:{monitoring.health_port}"
    wait_until(lambda: probe(health) == "SERVING", "the site is healthy")
    superlink = next(each for each in place.server.descendants("superlink") if "--enable-supernode-auth" in each.command)
    os.kill(superlink.pid, signal.SIGSTOP)
    try:
        wait_until(lambda: probe(health, "server") == "NOT_SERVING", "the site has noticed")
        assert probe(health, "supernode") == "SERVING"
    finally:
        os.kill(superlink.pid, signal.SIGCONT)
    wait_until(lambda: probe(health) == "SERVING", "the site is healthy again")
