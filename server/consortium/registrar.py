"""Who tells Flower which keys may speak to it. Flower registers a key once: one that it has let go never comes back."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Protocol

from common.errors import FederationError
from common.processes.flower import QUIET
from server.consortium.folder import Consortium

PATIENCE_S = 60.0
IN_USE = "already in use"


class Registrar(Protocol):
    """Lets keys in and out."""

    def register(self, site: str, openssh: str, known: frozenset[int]) -> int:
        """Let a key in, for good; return the number of its node.

        Args:
            openssh: the public key, one line.
            known: the nodes of all other sites, from which an admission that was broken off is told.
        """

    def unregister(self, node: int) -> None:
        """Shut a node out for good; nothing happens where it is out already."""


class FlowerRegistrar:
    """Speaks to the running SuperLink on the loopback address, by Flower's own command."""

    def __init__(self, consortium: Consortium) -> None:
        self._consortium = consortium

    def register(self, site: str, openssh: str, known: frozenset[int]) -> int:
        """Let a key in. Raises FederationError where the SuperLink does not answer, or knows the key as another's."""
        with tempfile.TemporaryDirectory() as folder:
            key = Path(folder) / "site.pub"
            key.write_text(f"{openssh}\n")
            try:
                return int(self._flwr("register", str(key), self._name, "--name", site)["node-id"])
            except FederationError as error:
                if IN_USE not in str(error):
                    raise
        return self._broken_off(site, known)

    def unregister(self, node: int) -> None:
        """Shut a node out. Raises FederationError where the SuperLink does not answer."""
        if node in self._living():
            self._flwr("unregister", str(node), self._name)

    @property
    def _name(self) -> str:
        return self._consortium.settings.name

    def _broken_off(self, site: str, known: frozenset[int]) -> int:
        """Return the node of an admission that ended between Flower's record and ours: the one that nobody has."""
        strangers = self._living() - known
        if len(strangers) == 1:
            return strangers.pop()
        raise FederationError(
            f"{site}: Flower has known this key before and let it go, or knows {len(strangers)} nodes that are not on "
            "the roster; let the site make a new key (`gliofed-client request --new-key`) and send its request again"
        )

    def _living(self) -> set[int]:
        listed = self._flwr("list", self._name)["nodes"]
        return {int(node["node-id"]) for node in listed if node["status"] != "unregistered"}

    def _flwr(self, *arguments: str) -> dict[str, Any]:
        programs = Path(sys.executable).parent
        environment = {**os.environ, **QUIET, "FLWR_HOME": str(self._consortium.flower)}
        try:
            done = subprocess.run(
                [str(programs / "flwr"), "supernode", *arguments, "--format", "json"],
                env=environment | {"PATH": f"{programs}{os.pathsep}{os.environ.get('PATH', os.defpath)}"},
                cwd=self._consortium.folder,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=PATIENCE_S,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise FederationError(f"the SuperLink does not answer within {PATIENCE_S:g} s; {START}") from None
        begins = done.stdout.find("{")
        answer: dict[str, Any] = {} if begins < 0 else json.loads(done.stdout[begins:])
        if done.returncode or not answer.get("success"):
            lines = (str(answer.get("error-message", "")) or done.stdout + done.stderr).strip().splitlines()
            said = lines[-1][-400:].rstrip(".") if lines else "it says nothing"
            raise FederationError(f"flwr supernode {arguments[0]} failed: {said}; {START}")
        return answer


START = "let `gliofed-server serve` run beside this command"
