"""The deployment's own certificates: trusted while they are valid, refused from then on."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from datetime import timedelta
from pathlib import Path

import pytest

from simulations.deployment.authority import HOST, Authority


def shake_hands(authority: Authority) -> None:
    """One TLS handshake between a server with the authority's certificate and a client that trusts its root."""
    server_side = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_side.load_cert_chain(authority.certificate, authority.key)
    client_side = ssl.create_default_context(cafile=str(authority.root))
    with socket.create_server((HOST, 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection, contextlib.suppress(ssl.SSLError):
                server_side.wrap_socket(connection, server_side=True).close()

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            with socket.create_connection(server.getsockname()) as plain:
                client_side.wrap_socket(plain, server_hostname=HOST).close()
        finally:
            thread.join()


def test_a_certificate_of_the_authority_is_trusted(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    authority.issue()
    shake_hands(authority)


def test_an_expired_certificate_is_refused_and_a_renewed_one_trusted(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    authority.issue(timedelta(seconds=-1))
    with pytest.raises(ssl.SSLCertVerificationError, match="expired"):
        shake_hands(authority)
    authority.issue()
    shake_hands(authority)


def test_another_authority_is_not_trusted(tmp_path: Path) -> None:
    ours, theirs = Authority(tmp_path / "ours"), Authority(tmp_path / "theirs")
    theirs.issue()
    theirs.root.write_bytes(ours.root.read_bytes())
    with pytest.raises(ssl.SSLCertVerificationError):
        shake_hands(theirs)


def test_private_keys_are_for_their_owner_alone(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    authority.issue()
    assert authority.key.stat().st_mode & 0o077 == 0
