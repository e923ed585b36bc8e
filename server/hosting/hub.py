"""The hub: on the loopback address, in the place of Flower's own, it gives the SuperLink our signed bundle.

It knows two requests, which are all that `flwr run @gliofed/gliofed==VERSION` makes the SuperLink ask.
"""

from __future__ import annotations

import json
import re
import sys
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, StringConstraints, ValidationError

from common import logs
from common.errors import GliofedError
from common.identity.bundle_signature import SIGNER
from common.identity.signing import VerifyKey
from common.processes.flower import LOOPBACK, environment, own_module
from common.processes.program import Program
from server.consortium.folder import Consortium
from server.hosting.bundle import APP, PUBLISHER, BundleCard, read_bundle

log = logs.logger("server.hosting.hub")  # also where it runs as __main__

APP_ID = f"@{PUBLISHER}/{APP}"
ASKED, FETCHED = "/v1/hub/fetch-fab", "/v1/hub/bundles/"
MAX_REQUEST_BYTES = 4096
LENGTH = re.compile(r"[0-9]{1,6}")
IDLE_S = 30.0


class Asked(BaseModel):
    """What the SuperLink asks for; Flower may add to it."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    app_id: Annotated[str, StringConstraints(max_length=256)]
    app_version: Annotated[str, StringConstraints(max_length=64)] | None = None


@dataclass(frozen=True)
class Reply:
    """What a request is answered with."""

    status: HTTPStatus
    body: bytes
    kind: str = "application/json"


class Hub:
    """Answers from a consortium's folder as it is at that moment, so that a new bundle needs no restart."""

    def __init__(self, consortium: Consortium) -> None:
        self._consortium = consortium

    def post(self, path: str, body: bytes) -> Reply:
        """Say where the bundle is, and who signed it."""
        try:
            asked = Asked.model_validate_json(body)
            card, _ = self._bundle()
        except ValidationError:
            return _refusal(HTTPStatus.BAD_REQUEST, "the request is not one for a bundle")
        except GliofedError as error:
            log.warning("no bundle is given out: %s", error)
            return _refusal(HTTPStatus.NOT_FOUND, "there is no bundle that is as it was signed")
        if path != ASKED or asked.app_id != APP_ID or asked.app_version not in (None, card.version):
            return _refusal(HTTPStatus.NOT_FOUND, {"available_app_versions": [card.version]})
        answer = {
            "fab_url": f"{hub_address(self._consortium).removesuffix('/v1')}{FETCHED}{card.sha256}",
            "verifications": [{"public_key_id": SIGNER, "signature": card.signature, "signed_at": card.signed_at}],
        }
        return Reply(HTTPStatus.OK, json.dumps(answer).encode())

    def get(self, path: str) -> Reply:
        """Give the bundle out, by its digest."""
        try:
            card, bundle = self._bundle()
        except GliofedError as error:
            log.warning("no bundle is given out: %s", error)
            return _refusal(HTTPStatus.NOT_FOUND, "there is no bundle that is as it was signed")
        if path != FETCHED + card.sha256:
            return _refusal(HTTPStatus.NOT_FOUND, "there is no such bundle")
        return Reply(HTTPStatus.OK, bundle, "application/octet-stream")

    def _bundle(self) -> tuple[BundleCard, bytes]:
        return read_bundle(self._consortium.bundle, VerifyKey.load(self._consortium.signing_pub))


def hub_address(consortium: Consortium) -> str:
    """Return what Flower is told in the place of its own hub."""
    return f"http://{LOOPBACK}:{consortium.settings.ports.hub}/v1"


def hub(consortium: Consortium) -> Program:
    """Return the hub as a program."""
    command = [*own_module("server.hosting.hub"), str(consortium.folder)]
    path = consortium.logs / "hub.log"
    return Program("hub", command, environment(consortium.flower), consortium.folder, path)


def _refusal(status: HTTPStatus, detail: object) -> Reply:
    return Reply(status, json.dumps({"detail": detail}).encode())


def handler(answers: Hub) -> type[BaseHTTPRequestHandler]:
    """Return the class that speaks HTTP for `answers`."""

    class Handler(BaseHTTPRequestHandler):
        timeout = IDLE_S

        def do_GET(self) -> None:
            self._send(answers.get(self.path))

        def do_POST(self) -> None:
            said = self.headers.get("content-length", "")
            if not LENGTH.fullmatch(said) or int(said) > MAX_REQUEST_BYTES:
                self._send(_refusal(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "the request is too large"))
            else:
                self._send(answers.post(self.path, self.rfile.read(int(said))))

        def _send(self, reply: Reply) -> None:
            self.send_response(reply.status)
            self.send_header("content-type", reply.kind)
            self.send_header("content-length", str(len(reply.body)))
            self.end_headers()
            self.wfile.write(reply.body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (the name is the library's)
            log.info(format, *args)

    return Handler


def main() -> None:
    """Serve the consortium whose folder is the one argument, for ever."""
    logs.configure("info")
    consortium = Consortium.open(Path(sys.argv[1]))
    port = consortium.settings.ports.hub
    with ThreadingHTTPServer((LOOPBACK, port), handler(Hub(consortium))) as service:
        log.info("the hub listens on %s:%d", LOOPBACK, port)
        service.serve_forever()


if __name__ == "__main__":
    main()
