"""The hub gives the SuperLink our signed bundle and nothing else, whatever it is asked."""

from __future__ import annotations

import hashlib
import http.client
import json
import threading
from collections.abc import Iterator
from http.server import ThreadingHTTPServer
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from common.identity.bundle_signature import SIGNER
from common.identity.signing import SigningKey
from server.consortium.beginning import begin_consortium
from server.consortium.folder import Consortium
from server.consortium.settings import ConsortiumSettings
from server.hosting.bundle import FILE, write_bundle
from server.hosting.hub import ASKED, FETCHED, MAX_REQUEST_BYTES, Hub, handler

QUESTION = {"app_id": "@gliofed/gliofed", "app_version": "0.1.0", "flwr_version": "1.41.0"}


@pytest.fixture(scope="module")
def consortium(tmp_path_factory: pytest.TempPathFactory) -> Consortium:
    made = Consortium(tmp_path_factory.mktemp("hub"))
    begin_consortium(made, ConsortiumSettings(name="net", hosts=("localhost",)))
    write_bundle(made.bundle, SigningKey.load(made.signing_key), b"a bundle")
    return made


def asked(hub: Hub, **changed: object) -> tuple[int, dict[str, object]]:
    reply = hub.post(ASKED, json.dumps(QUESTION | changed).encode())
    return reply.status, json.loads(reply.body)


def test_who_asks_for_our_app_is_told_where_it_is_and_who_signed_it(consortium: Consortium) -> None:
    hub = Hub(consortium)
    status, answer = asked(hub)
    (signed,) = answer["verifications"]
    assert (status, signed["public_key_id"]) == (200, SIGNER)
    path = answer["fab_url"].removeprefix("http://127.0.0.1:9093")
    assert path == FETCHED + hashlib.sha256(b"a bundle").hexdigest()
    assert hub.get(path).body == b"a bundle"


def test_another_app_another_version_and_another_path_are_not_there(consortium: Consortium) -> None:
    hub = Hub(consortium)
    assert asked(hub, app_id="@somebody/else")[0] == 404
    assert asked(hub, app_version="9.9.9") == (404, {"detail": {"available_app_versions": ["0.1.0"]}})
    assert hub.post("/v1/hub/apps/publish", json.dumps(QUESTION).encode()).status == 404
    for path in ("/", FETCHED, f"{FETCHED}../../signing.key", f"{FETCHED}{'0' * 64}", "/etc/passwd"):
        assert hub.get(path).status == 404


def test_a_bundle_that_was_tampered_with_is_not_given_out(tmp_path: Path) -> None:
    made = Consortium(tmp_path)
    begin_consortium(made, ConsortiumSettings(name="net", hosts=("localhost",)))
    card = write_bundle(made.bundle, SigningKey.load(made.signing_key), b"a bundle")
    hub = Hub(made)
    (made.bundle / FILE).write_bytes(b"a bundlf")
    assert asked(hub)[0] == hub.get(FETCHED + card.sha256).status == 404
    write_bundle(made.bundle, SigningKey.generate(), b"a bundle")
    assert asked(hub)[0] == hub.get(FETCHED + card.sha256).status == 404


@given(st.binary(max_size=200) | st.dictionaries(st.text(max_size=12), st.integers() | st.text()).map(json.dumps))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
def test_no_request_makes_it_fail(consortium: Consortium, body: bytes | str) -> None:
    sent = body.encode("utf-8", "surrogatepass") if isinstance(body, str) else body
    assert Hub(consortium).post(ASKED, sent).status in (400, 404)


@pytest.fixture
def port(consortium: Consortium) -> Iterator[int]:
    with ThreadingHTTPServer(("127.0.0.1", 0), handler(Hub(consortium))) as service:
        thread = threading.Thread(target=service.serve_forever, args=(0.05,))
        thread.start()
        yield service.server_address[1]
        service.shutdown()
        thread.join()


@pytest.mark.parametrize("length", [str(MAX_REQUEST_BYTES + 1), "-1", "x", "", "9" * 5000])
def test_a_request_of_no_sensible_length_is_refused_unread(port: int, length: str) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.putrequest("POST", ASKED)
    if length:
        connection.putheader("content-length", length)
    connection.endheaders()
    assert connection.getresponse().status == 413
    connection.close()


def test_over_http_it_answers_as_flower_asks(port: int) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("POST", ASKED, json.dumps(QUESTION))
    answer = connection.getresponse()
    assert (answer.status, json.loads(answer.read())["verifications"][0]["public_key_id"]) == (200, SIGNER)
    connection.close()
