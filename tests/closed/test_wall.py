"""What a stranger who holds the CA certificate can do through nginx: nothing."""

from __future__ import annotations

import http.client
import ssl
from pathlib import Path

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP384R1, generate_private_key
from flwr.proto.fleet_pb2 import ActivateNodeRequest, PullMessagesRequest, RegisterNodeFleetRequest
from flwr.proto.node_pb2 import Node
from flwr.supercore.primitives.asymmetric import public_key_to_bytes
from flwr.supernode.fleet_http_client import FleetHttpClient
from flwr.supernode.node_auth_http_interceptor import NodeAuthHttpInterceptor

from common.identity.certificates import Authority
from server.hosting.bundle import build_bundle
from server.hosting.nginx import CALLS, MAX_BODY_MB
from tests.closed.control import Control
from tests.closed.place import Place

CONTROL = ("list-runs", "start-run", "list-nodes", "register-node", "stop-run")
DISGUISED = (
    *("/v1/fleet/../control/list-runs", "/v1/fleet/%2e%2e/control/list-runs", "/v1/fleet/..%2fcontrol/list-runs"),
    *("/v1/control/../fleet/get-run", "//v1/control/list-runs", "/v1/fleet/get-run/../../control/list-runs"),
    *("/v1/fleet/get-run?/v1/control", "/v1//fleet/get-run", "/V1/FLEET/get-run", "/v1/fleet/get%2drun"),
    *("/v1/fleet/get-run/", "/v1/fleet/", "/v1/fleet"),
)


def sent(place: Place, method: str, path: str, declared: int = 0) -> int:
    """Send a request whose path is not tidied up by the client, and whose body never comes; return the status."""
    context = ssl.create_default_context(cafile=str(place.consortium.ca))
    connection = http.client.HTTPSConnection("localhost", place.port, context=context, timeout=30)
    connection.putrequest(method, path, skip_accept_encoding=True)
    connection.putheader("content-type", "application/protobuf")
    connection.putheader("content-length", str(declared))
    connection.endheaders()
    status = connection.getresponse().status
    connection.close()
    return status


@pytest.mark.parametrize("call", CONTROL)
def test_the_control_api_is_not_there(place: Place, call: str) -> None:
    assert sent(place, "POST", f"/v1/control/{call}") == 404


@pytest.mark.parametrize("path", DISGUISED)
def test_no_way_of_writing_a_path_leads_around_the_wall(place: Place, path: str) -> None:
    assert sent(place, "POST", path) == 404


@pytest.mark.parametrize("path", ["/", "/docs", "/openapi.json", "/health", "/v1/runtime/acquire-task", "/v1/fleet/x"])
def test_nothing_else_of_flower_is_there(place: Place, path: str) -> None:
    assert sent(place, "GET", path) == sent(place, "POST", path) == 404


def test_the_calls_of_a_node_are_there_and_only_by_post(place: Place) -> None:
    assert {call: sent(place, "POST", f"/v1/fleet/{call}") for call in CALLS} == dict.fromkeys(CALLS, 401)
    assert {sent(place, method, "/v1/fleet/get-run") for method in ("GET", "PUT", "DELETE", "HEAD")} == {404}


def test_a_body_larger_than_any_piece_is_refused_before_it_is_read(place: Place) -> None:
    assert sent(place, "POST", "/v1/fleet/push-object", declared=MAX_BODY_MB * 2**20 + 1) == 413


def test_a_stranger_can_neither_list_nor_submit_nor_register(place: Place) -> None:
    key = place.sites["hospital-a"].public_key.read_bytes()
    with Control(f"localhost:{place.port}", place.consortium.ca) as control:
        for call in (control.list_runs, lambda: control.submit({}, build_bundle()), lambda: control.register(key)):
            with pytest.raises(httpx.HTTPStatusError, match="404"):
                call()


class Nobody:
    """A node whose key nobody registered."""

    def __init__(self, place: Place, root: Path | None = None) -> None:
        self.private = generate_private_key(SECP384R1())
        self.public = public_key_to_bytes(self.private.public_key())
        self.client = FleetHttpClient.from_server_address(
            f"localhost:{place.port}",
            insecure=False,
            root_certificates=(root or place.consortium.ca).read_bytes(),
            interceptors=[NodeAuthHttpInterceptor(self.private, self.private.public_key())],
        )


def test_a_key_that_nobody_registered_is_not_let_in(place: Place) -> None:
    nobody = Nobody(place)
    with nobody.client as client:
        with pytest.raises(httpx.HTTPStatusError, match="4"):
            client.ActivateNode(ActivateNodeRequest(public_key=nobody.public, heartbeat_interval=30))
        with pytest.raises(httpx.HTTPStatusError, match="404"):
            client.RegisterNode(RegisterNodeFleetRequest(public_key=nobody.public))


def test_a_key_that_nobody_registered_cannot_speak_for_a_site(place: Place) -> None:
    with Nobody(place).client as client, pytest.raises(httpx.HTTPStatusError, match="401"):
        client.PullMessages(PullMessagesRequest(node=Node(node_id=place.nodes["hospital-a"])))


def test_a_server_of_another_authority_is_not_spoken_to(place: Place, tmp_path: Path) -> None:
    Authority.create("another").save(tmp_path / "ca.crt", tmp_path / "ca.key")
    nobody = Nobody(place, tmp_path / "ca.crt")
    with nobody.client as client, pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
        client.ActivateNode(ActivateNodeRequest(public_key=nobody.public, heartbeat_interval=30))
