"""A site reaches the server as its hospital lets it: through a proxy with a password, past an inspecting one."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from client.cli import app
from client.config import Connection, parse_site
from client.enrolment.connection import connection_environment, root_certificates
from client.enrolment.folder import SiteFolder
from client.enrolment.joining import join
from client.enrolment.server_certificate import UnreachableError, certificate_days, see_server
from client.enrolment.status import status_of
from common.console import run
from common.errors import StudyError
from common.identity.certificates import Authority, days_left
from server.consortium.renewal import renew
from tests.identity.conftest import HOST, World
from tests.identity.proxies import Proxy, Server, serving

PASSWORD = "p@ss word"
QUOTED = "p%40ss%20word"


@pytest.fixture
def joined(world: World) -> SiteFolder:
    world.admit("hospital-a")
    site = world.site("hospital-a")
    join(site, world.kit("hospital-a"))
    return site


@pytest.fixture
def server(world: World) -> Iterator[Server]:
    with Server(serving(world.consortium.server_certificate, world.consortium.server_key)) as running:
        yield running


def connect_through(site: SiteFolder, **settings: object) -> SiteFolder:
    """Return the site with these lines in its `[connection]`."""
    lines = [f'{key} = "{value}"' for key, value in settings.items()]
    site.toml.write_text("\n".join([site.toml.read_text(), *lines]))
    return SiteFolder(site.toml)


@contextmanager
def supernode(site: SiteFolder, monkeypatch: pytest.MonkeyPatch) -> Iterator[object]:
    """Flower's own client of the Fleet API, as a SuperNode with the site's environment makes it."""
    from flwr.supernode.fleet_http_client import FleetHttpClient

    for name, value in connection_environment(site.config).items():
        monkeypatch.setenv(name, value)
    with FleetHttpClient.from_server_address(f"{HOST}:443", False, root_certificates(site).read_bytes(), []) as client:
        yield client


def pull(client: object) -> None:
    from flwr.proto.fleet_pb2 import PullMessagesRequest

    client.PullMessages(PullMessagesRequest())


def test_a_site_that_names_no_proxy_leaves_the_environment_as_it_is(joined: SiteFolder) -> None:
    assert connection_environment(joined.config) == {}
    assert root_certificates(joined) == joined.ca


def test_a_proxy_with_a_password_leads_flower_to_the_server(
    joined: SiteFolder, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_PROXY", "*")  # what site.toml says goes before what the machine says
    with Proxy(to=server.port, login=f"user:{PASSWORD}") as proxy:
        site = connect_through(joined, proxy=f"http://user:{QUOTED}@127.0.0.1:{proxy.port}")
        with supernode(site, monkeypatch) as client:
            pull(client)
    assert proxy.seen == [f"CONNECT {HOST}:443 HTTP/1.1"]
    assert server.seen == ["POST /v1/fleet/pull-messages HTTP/1.1"]


def test_a_wrong_password_is_told_without_being_shown(joined: SiteFolder, server: Server) -> None:
    with Proxy(to=server.port, login="user:other") as proxy:
        site = connect_through(joined, proxy=f"http://user:{QUOTED}@127.0.0.1:{proxy.port}")
        with pytest.raises(UnreachableError, match=r"the proxy refuses \(407") as caught:
            see_server(site)
    assert "p@ss" not in str(caught.value)
    assert "p%40ss" not in str(caught.value)
    assert server.seen == []


def test_a_proxy_that_is_spoken_to_over_tls_is_verified_with_the_hospitals_authority(
    tmp_path: Path, joined: SiteFolder, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    hospital = Authority.create("hospital")
    hospital.save(tmp_path / "hospital.pem", tmp_path / "hospital.key")
    hospital.issue(("127.0.0.1",), tmp_path / "proxy.crt", tmp_path / "proxy.key")
    with Proxy(serving(tmp_path / "proxy.crt", tmp_path / "proxy.key"), to=server.port) as proxy:
        address = f"https://127.0.0.1:{proxy.port}"
        site = connect_through(joined, proxy=address, extra_ca=tmp_path / "hospital.pem")
        with supernode(site, monkeypatch) as client:
            pull(client)
        see_server(site)
    assert len(proxy.seen) == 2


@pytest.fixture
def inspection(tmp_path: Path) -> tuple[Path, ssl.SSLContext]:
    """An authority of the hospital's own, with a comment that is no ASCII, and a certificate in the server's name."""
    authority = Authority.create("hospital's inspection")
    authority.save(tmp_path / "inspection.pem", tmp_path / "inspection.key")
    authority.issue((HOST,), tmp_path / "seen.crt", tmp_path / "seen.key")
    plain = (tmp_path / "inspection.pem").read_text()
    (tmp_path / "inspection.pem").write_text(f"# Prüfstelle des Klinikums\n{plain}", encoding="utf-8")
    return tmp_path / "inspection.pem", serving(tmp_path / "seen.crt", tmp_path / "seen.key")


def test_an_inspecting_proxy_is_trusted_where_site_toml_names_its_authority(
    joined: SiteFolder, inspection: tuple[Path, ssl.SSLContext], monkeypatch: pytest.MonkeyPatch
) -> None:
    with Proxy(opens=inspection[1]) as proxy:
        site = connect_through(joined, proxy=f"http://127.0.0.1:{proxy.port}")
        with pytest.raises(UnreachableError, match=r"not trusted .* connection\.extra_ca"):
            see_server(site)
        site = connect_through(site, extra_ca=inspection[0])
        see_server(site)
        with supernode(site, monkeypatch) as client:
            pull(client)
    assert proxy.seen[-1] == "POST /v1/fleet/pull-messages HTTP/1.1"


def test_an_inspecting_proxys_certificate_is_not_taken_as_the_servers(
    world: World, joined: SiteFolder, inspection: tuple[Path, ssl.SSLContext], capsys: pytest.CaptureFixture[str]
) -> None:
    with Proxy(opens=inspection[1]) as proxy:
        site = connect_through(joined, proxy=f"http://127.0.0.1:{proxy.port}", extra_ca=inspection[0])
        assert run(app, "gliofed-client", ["status", "--site", str(site.toml), "--look"]) == 0
    shown = capsys.readouterr().out
    assert 'hidden: something opens TLS on the way, with a certificate by "hospital\'s inspection"' in shown
    assert "397 days" not in shown
    facts = status_of(site)
    assert (facts.server_days, facts.inspected_by) == (None, "hospital's inspection")
    assert certificate_days(site)["authority"] == pytest.approx(3653, abs=0.01)
    join(site, world.kit("hospital-a"))
    assert status_of(site).inspected_by is None, "a newer kit may be of another authority: look again"


def test_with_an_inspecting_authority_the_server_itself_is_still_trusted(
    joined: SiteFolder, server: Server, inspection: tuple[Path, ssl.SSLContext]
) -> None:
    with Proxy(to=server.port) as proxy:
        site = connect_through(joined, proxy=f"http://127.0.0.1:{proxy.port}", extra_ca=inspection[0])
        assert days_left(see_server(site)) == pytest.approx(397, abs=0.01)


def test_days_left_are_those_of_the_certificate_that_was_seen(world: World, joined: SiteFolder) -> None:
    assert certificate_days(joined) == {"authority": pytest.approx(3653, abs=0.01), "server": None}
    renew(world.consortium)
    with (
        Server(serving(world.consortium.server_certificate, world.consortium.server_key)) as server,
        Proxy(to=server.port) as proxy,
    ):
        see_server(connect_through(joined, proxy=f"http://127.0.0.1:{proxy.port}"))
    assert certificate_days(joined)["server"] == pytest.approx(397, abs=0.01)
    assert status_of(joined).inspected_by is None


def test_a_server_that_nobody_reaches_is_named_with_what_to_ask_for(joined: SiteFolder) -> None:
    with Proxy() as proxy:
        port = proxy.port
    with pytest.raises(UnreachableError, match="ask the firewall's team"):
        see_server(connect_through(joined, proxy=f"http://127.0.0.1:{port}"))


@pytest.mark.parametrize(
    "proxy",
    ["proxy:3128", "socks5://proxy:1080", "http://proxy", "http://proxy:99999", "http://a:1/path", "", "http://["],
)
def test_what_is_no_proxy_is_refused_without_showing_it(proxy: str, tmp_path: Path) -> None:
    text = f'name = "a"\nfolder = "scans"\nworkdir = "work"\n[connection]\nproxy = "{proxy}"\n'
    with pytest.raises(StudyError, match=r"site:5: connection\.proxy: must be http://host:port"):
        parse_site(text, tmp_path)


def test_the_password_is_never_printed() -> None:
    connection = Connection.model_validate_json('{"proxy": "http://user:secret@proxy:3128"}', strict=True)
    assert "secret" not in f"{connection!r} {connection} {connection.model_dump_json()}"
