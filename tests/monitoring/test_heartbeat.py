"""A heartbeat is an answer of the coordinator's server over trusted TLS, by the way that the SuperNode goes."""

from datetime import timedelta

import pytest

from client.monitoring.heartbeat import UnreachableError, heartbeat_of, is_reached, reacher
from common.identity.certificates import Authority
from simulations.deployment.deployment import free_port


@pytest.fixture(autouse=True)
def no_proxy_around(monkeypatch):
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy", "NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)


def test_flowers_answer_to_a_caller_without_a_key_counts(tls_server):
    reached = reacher(tls_server.address, tls_server.ca)()
    assert tls_server.seen == ["/v1/fleet/send-node-heartbeat"]
    assert reached.certificate_left_s == pytest.approx(20 * 86400, abs=600)


@pytest.mark.parametrize("status", [502, 503, 504])
def test_a_gateway_with_nobody_behind_it_does_not(tls_server, status):
    tls_server.status = status
    with pytest.raises(UnreachableError, match=str(status)):
        reacher(tls_server.address, tls_server.ca)()


@pytest.mark.parametrize("status", [200, 302, 403, 404, 500])
def test_a_firewalls_page_or_another_server_does_not(tls_server, status):
    tls_server.status = status
    with pytest.raises(UnreachableError, match=f"answers {status}, which is not Flower's answer"):
        reacher(tls_server.address, tls_server.ca)()


def test_the_clocks_are_compared(tls_server):
    tls_server.behind_s = 120
    assert reacher(tls_server.address, tls_server.ca)().clock_ahead_s == pytest.approx(120, abs=2)


def test_a_certificate_of_another_authority_is_not_reached(tls_server, tmp_path):
    other = tmp_path / "other.crt"
    Authority.create("somebody else").save(other, tmp_path / "other.key")
    with pytest.raises(UnreachableError, match="not trusted"):
        reacher(tls_server.address, other)()
    assert tls_server.seen == []


def test_an_inspecting_proxys_certificate_is_not_taken_for_the_servers(tls_server, tmp_path):
    consortium = tmp_path / "consortium.crt"
    Authority.create("the consortium").save(consortium, tmp_path / "consortium.key")
    assert reacher(tls_server.address, tls_server.ca, kit=consortium)().certificate_left_s is None
    both = tmp_path / "roots.pem"
    both.write_bytes(consortium.read_bytes() + tls_server.ca.read_bytes())
    assert reacher(tls_server.address, both, kit=tls_server.ca)().certificate_left_s is not None


def test_a_certificate_for_another_host_is_not_reached(tls_server):
    with pytest.raises(UnreachableError, match="not trusted"):
        reacher(tls_server.address.replace("127.0.0.1", "localhost"), tls_server.ca)()


def test_nobody_there_is_not_reached(tls_server):
    with pytest.raises(UnreachableError, match="cannot be reached"):
        reacher(f"127.0.0.1:{free_port()}", tls_server.ca)()


def test_an_authority_that_is_missing_is_not_reached(tls_server, tmp_path):
    with pytest.raises(UnreachableError, match="No such file"):
        reacher(tls_server.address, tmp_path / "none.crt")()


def test_it_goes_through_the_proxy_that_the_site_names(tls_server, proxy):
    assert reacher(tls_server.address, tls_server.ca, proxy.url)()
    assert proxy.tunnels == [tls_server.address]


def test_it_goes_through_the_proxy_of_the_environment_as_the_supernode_does(tls_server, proxy, monkeypatch):
    monkeypatch.setenv("HTTPS_PROXY", proxy.url)
    assert reacher(tls_server.address, tls_server.ca)()
    assert proxy.tunnels == [tls_server.address]


def test_a_proxy_that_wants_a_password_is_not_the_server(tls_server, proxy):
    with pytest.raises(UnreachableError, match="the proxy refuses"):
        reacher(tls_server.address, tls_server.ca, proxy.open_url)()


def test_one_missed_heartbeat_is_forgiven_and_two_are_not(tls_server):
    heartbeat = heartbeat_of(tls_server.address, tls_server.ca, None, every_s=30)
    assert not is_reached(heartbeat), "a site that never reached the server does not say that it does"
    heartbeat.refresh()
    assert is_reached(heartbeat)
    tls_server.status = 503
    heartbeat.refresh()
    assert is_reached(heartbeat)
    heartbeat.refresh()
    assert not is_reached(heartbeat)
    tls_server.status = 401
    heartbeat.refresh()
    assert is_reached(heartbeat)


def test_a_heartbeat_that_hangs_is_missed(tls_server, monkeypatch):
    heartbeat = heartbeat_of(tls_server.address, tls_server.ca, None, every_s=30)
    heartbeat.refresh()
    monkeypatch.setattr("common.monitoring.refreshed.time.monotonic", lambda: heartbeat._good_at + 101)
    assert not is_reached(heartbeat)


def test_an_ended_certificate_is_not_reached(tls_server, tmp_path):
    import ssl

    authority = Authority.load(tls_server.ca, tmp_path / "ca.key")
    authority.issue(("127.0.0.1",), tmp_path / "old.crt", tmp_path / "old.key", timedelta(minutes=-5))
    tls_server.socket.context.load_cert_chain(tmp_path / "old.crt", tmp_path / "old.key")
    assert isinstance(tls_server.socket.context, ssl.SSLContext)
    with pytest.raises(UnreachableError, match="has expired"):
        reacher(tls_server.address, tls_server.ca)()
