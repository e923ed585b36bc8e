"""What can stand between a site and the server: real proxies, certificates and clocks, each with its remedy."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from client.doctor.finding import Mark
from client.doctor.look import ahead_of
from client.limits import local_now
from client.monitoring.heartbeat import NOBODY_BEHIND
from common.identity.certificates import A_DAY, Authority
from tests.doctor.conftest import Hospital
from tests.identity.proxies import Proxy, serving


def test_a_proxy_that_is_not_there_is_told(hospital: Hospital) -> None:
    with Proxy() as proxy:
        port = proxy.port
    hospital.says(f'connection.proxy = "http://127.0.0.1:{port}"')
    found = hospital.ask("proxy")
    assert (found.mark, found.code) == (Mark.FAIL, "proxy-silent")
    assert "connection.proxy" in found.remedy
    assert hospital.ask("port").mark is Mark.SKIP


def test_a_proxy_that_wants_another_password_is_told_without_it(hospital: Hospital) -> None:
    with Proxy(to=hospital.gateway.port, login="user:right") as proxy:
        hospital.says(f'connection.proxy = "http://user:wrongword@127.0.0.1:{proxy.port}"')
        found = hospital.ask("proxy")
    assert (found.mark, found.code) == (Mark.FAIL, "proxy-refuses")
    assert "user and password" in found.remedy
    assert "wrongword" not in found.what + found.remedy


def test_through_the_right_proxy_all_of_the_network_passes(hospital: Hospital) -> None:
    names = ("proxy", "dns", "port", "tls", "clock", "fleet-api", "control-api", "server-certificate")
    with Proxy(to=hospital.gateway.port, login="user:right") as proxy:
        hospital.says(f'connection.proxy = "http://user:right@127.0.0.1:{proxy.port}"')
        around = hospital.around()
        assert {name: hospital.ask(name).mark for name in names} == dict.fromkeys(names, Mark.PASS)
    assert around.config.connection.proxy is not None


def test_a_proxy_of_the_environment_leads_outwards_too(hospital: Hospital, monkeypatch: pytest.MonkeyPatch) -> None:
    with Proxy(to=hospital.gateway.port) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{proxy.port}")
        found = {name: hospital.ask(name).what for name in ("proxy", "dns", "port", "fleet-api")}
    assert found["proxy"] == "site.toml names no proxy; the machine's environment names one"
    assert found["dns"] == "the proxy looks the server's name up"
    assert found["port"].endswith("is reached through the proxy")
    assert "Flower answers sites there" in found["fleet-api"]


def test_a_name_that_nobody_knows_is_told(hospital: Hospital) -> None:
    def nobody(host: str) -> tuple[str, ...]:
        raise OSError("no such host")

    found = hospital.ask("dns", resolve=nobody)
    assert (found.mark, found.code) == (Mark.FAIL, "unknown-host")
    assert "network's team" in found.remedy


def test_a_name_server_that_never_answers_is_waited_for_no_longer_than_said(hospital: Hospital) -> None:
    import threading

    asked = threading.Event()
    found = hospital.ask("dns", resolve=lambda host: (asked.wait(30), "late")[1:], patience_s=0.1)
    asked.set()
    assert found.code == "unknown-host"


def test_a_closed_port_goes_to_the_firewalls_team(hospital: Hospital) -> None:
    with Proxy() as nobody:
        port = nobody.port
    card = hospital.site.card
    card.write_text(card.read_text().replace(f'"port": {hospital.gateway.port}', f'"port": {port}'))
    found = hospital.ask("port")
    assert (found.mark, found.code) == (Mark.FAIL, "port-closed")
    assert f"one outbound TLS connection to localhost:{port}" in found.remedy
    assert hospital.ask("tls").mark is Mark.SKIP
    assert hospital.ask("fleet-api").what == "not checked: the server was not reached"


def test_an_expired_certificate_is_renewed_by_the_coordinator(hospital: Hospital, tmp_path: Path) -> None:
    show(hospital, tmp_path, ("localhost",), -3 * A_DAY)
    assert hospital.ask("tls").code == "expired"
    found = hospital.ask("server-certificate")
    assert (found.mark, found.code, found.figures) == (Mark.FAIL, "expired", {"days": pytest.approx(-3, abs=0.1)})
    assert "gliofed-server renew" in found.remedy


def test_a_certificate_that_ends_soon_is_warned_of(hospital: Hospital, tmp_path: Path) -> None:
    show(hospital, tmp_path, ("localhost",), 10 * A_DAY)
    found = hospital.ask("server-certificate")
    assert (found.mark, found.code) == (Mark.WARN, "ends-soon")
    assert "gliofed-server renew" in found.remedy


def test_a_certificate_of_another_name_is_the_coordinators_to_mend(hospital: Hospital, tmp_path: Path) -> None:
    show(hospital, tmp_path, ("elsewhere.example.org",), 10 * A_DAY)
    found = hospital.ask("tls")
    assert (found.mark, found.code) == (Mark.FAIL, "untrusted")
    assert "ask the coordinator" in found.remedy


def test_an_authority_that_ends_is_replaced_by_a_new_kit(hospital: Hospital) -> None:
    later = local_now() + timedelta(days=4000)
    found = hospital.ask("authority", now=lambda: later)
    assert (found.mark, found.code) == (Mark.FAIL, "expired")
    assert "kit of a new authority" in found.remedy


def test_an_inspecting_proxy_is_named_and_allowed_or_not(hospital: Hospital, tmp_path: Path) -> None:
    inspection = Authority.create("Klinikum Inspection CA")
    inspection.save(tmp_path / "inspection.pem", tmp_path / "inspection.key")
    inspection.issue(("localhost",), tmp_path / "seen.crt", tmp_path / "seen.key")
    hospital.gateway.tls = serving(tmp_path / "seen.crt", tmp_path / "seen.key")
    found = hospital.ask("tls")
    assert (found.mark, found.code) == (Mark.FAIL, "inspected")
    assert "'Klinikum Inspection CA'" in found.what
    assert "connection.extra_ca" in found.remedy
    hospital.says(f'connection.extra_ca = "{tmp_path / "inspection.pem"}"')
    found = hospital.ask("tls")
    assert (found.mark, found.code) == (Mark.WARN, "inspecting")
    assert "'Klinikum Inspection CA'" in found.what
    found = hospital.ask("server-certificate")
    assert (found.mark, found.figures) == (Mark.SKIP, {})
    assert "an inspecting proxy shows its own certificate" in found.what


def test_an_extra_authority_that_is_none_is_told(hospital: Hospital, tmp_path: Path) -> None:
    (tmp_path / "none.pem").write_text("nothing")
    hospital.says(f'connection.extra_ca = "{tmp_path / "none.pem"}"')
    assert "correct connection.extra_ca" in hospital.ask("tls").remedy


@pytest.mark.parametrize(("slow_s", "mark"), [(8, Mark.FAIL), (-310, Mark.FAIL), (4, Mark.WARN), (-60, Mark.WARN)])
def test_clocks_apart_are_set_by_ntp(hospital: Hospital, slow_s: float, mark: Mark) -> None:
    hospital.gateway.slow_s = slow_s
    found = hospital.ask("clock")
    assert (found.mark, found.figures) == (mark, {"ahead_s": pytest.approx(slow_s, abs=1)})
    assert "timedatectl set-ntp true" in found.remedy


def test_a_server_that_tells_no_time_leaves_the_clock_unchecked(hospital: Hospital) -> None:
    hospital.gateway.slow_s = None
    assert hospital.ask("clock").mark is Mark.SKIP


@settings(max_examples=40)
@given(st.text() | st.from_regex(r"\A[A-Z][a-z]{2}, \d{1,3} [A-Z][a-z]{2} \d{1,6} \d\d:\d\d:\d\d [+-]?\w{1,6}\Z"))
@example("Sun, 22 Nov 2026 00:00:00 GMT")
def test_whatever_a_server_says_its_time_is(date: str) -> None:
    ahead_s = ahead_of(datetime(2026, 11, 22, 0, 0, 1, tzinfo=UTC), date)
    assert ahead_s is None or isinstance(ahead_s, float)
    if date == "Sun, 22 Nov 2026 00:00:00 GMT":
        assert ahead_s == 0.5


STRANGE_ANSWERS = [
    *((status, "no-fleet") for status in (200, 403, 404, 500)),
    *((status, "nobody-behind") for status in sorted(NOBODY_BEHIND)),
]


@pytest.mark.parametrize(("status", "code"), STRANGE_ANSWERS)
def test_where_flower_does_not_answer_the_coordinator_is_told(hospital: Hospital, status: int, code: str) -> None:
    hospital.gateway.fleet = status
    found = hospital.ask("fleet-api")
    assert (found.mark, found.code) == (Mark.FAIL, code)
    assert "gliofed-server serve" in found.remedy


@pytest.mark.parametrize("status", [200, 401, 405, 415])
def test_an_open_control_api_is_told_at_once(hospital: Hospital, status: int) -> None:
    hospital.gateway.control = status
    found = hospital.ask("control-api")
    assert (found.mark, found.code) == (Mark.FAIL, "control-open")
    assert "do not serve" in found.remedy


def show(hospital: Hospital, folder: Path, hosts: tuple[str, ...], valid_for: timedelta) -> None:
    """Let the gateway show another certificate of the consortium's authority."""
    consortium = hospital.world.consortium
    authority = Authority.load(consortium.ca, consortium.ca_key)
    authority.issue(hosts, folder / "other.crt", folder / "other.key", valid_for)
    hospital.gateway.tls = serving(folder / "other.crt", folder / "other.key")
