"""A consortium, a hospital, and a registrar that stands where Flower does."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import pytest

from client.enrolment.beginning import begin_site
from client.enrolment.folder import SiteFolder
from common.errors import FederationError
from common.identity.kit import Kit, open_kit
from common.identity.signing import SigningKey
from server.consortium.admission import Admission, admit, hear
from server.consortium.beginning import begin_consortium
from server.consortium.folder import Consortium
from server.consortium.settings import ConsortiumSettings

HOST = "gliofed.example.org"


@dataclass
class Register:
    """Behaves as Flower does: every key gets a node once, and one that was let go never comes back."""

    nodes: dict[str, int] = field(default_factory=dict)
    gone: set[int] = field(default_factory=set)
    answers: bool = True

    def register(self, site: str, openssh: str, known: frozenset[int]) -> int:
        self._answer()
        if openssh in self.nodes:
            raise FederationError(f"{site}: key already in use")
        self.nodes[openssh] = 101 + len(self.nodes)
        return self.nodes[openssh]

    def unregister(self, node: int) -> None:
        self._answer()
        self.gone.add(node)

    def _answer(self) -> None:
        if not self.answers:
            raise FederationError("the SuperLink does not answer")


@dataclass
class World:
    """What the tests build with."""

    folder: Path
    consortium: Consortium
    register: Register

    @property
    def key(self) -> SigningKey:
        return SigningKey.load(self.consortium.signing_key)

    def site(self, name: str) -> SiteFolder:
        place = SiteFolder(self.folder / name / "site.toml")
        if not place.toml.exists():
            (self.folder / "scans").mkdir(exist_ok=True)
            begin_site(place, name, self.folder / "scans")
        return place

    def admit(self, name: str, *, replace_key: bool = False, signed: bool = True) -> Admission:
        applicant = hear(self.consortium, self.site(name).request.read_bytes(), "request.json", replace_key)
        return admit(self.consortium, applicant, self.register, self.key if signed else None)

    def kit(self, name: str) -> Kit:
        return open_kit(self.consortium.kit(name).read_bytes())


@pytest.fixture
def world(tmp_path: Path) -> World:
    consortium = Consortium(tmp_path / "consortium")
    begin_consortium(consortium, ConsortiumSettings(name="glioma-net", hosts=(HOST,)))
    return World(tmp_path, consortium, Register())
