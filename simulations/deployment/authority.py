"""A certificate authority of a deployment's own: issues the SuperLink's certificate, for as long as one asks."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from common.identity import certificates
from common.identity.certificates import A_DAY

HOST = "127.0.0.1"


class Authority:
    """Issues certificates for the loopback address; its own certificate is `folder/ca.crt`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._authority = certificates.Authority.create("GlioFed deployment on loopback", A_DAY)
        self._authority.save(self.root, folder / "ca.key")

    @property
    def root(self) -> Path:
        """File of the authority's certificate, which all parties trust."""
        return self.folder / "ca.crt"

    @property
    def certificate(self) -> Path:
        """File of the server's certificate."""
        return self.folder / "server.crt"

    @property
    def key(self) -> Path:
        """File of the server's private key."""
        return self.folder / "server.key"

    def issue(self, valid_for: timedelta = A_DAY) -> None:
        """Write a new key and certificate of the server, valid for `valid_for` from now on."""
        self._authority.issue((HOST, "localhost"), self.certificate, self.key, valid_for)
