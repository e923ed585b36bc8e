"""A console over a consortium's folder, asked in this process."""

from __future__ import annotations

import re
import shutil
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from simulations.environment import quieten_flower

quieten_flower()

with warnings.catch_warnings():  # Starlette would rather have the successor of httpx
    warnings.simplefilter("ignore")
    from fastapi.testclient import TestClient

from argon2 import PasswordHasher  # noqa: E402

from client.app import make_app as make_client  # noqa: E402
from common.files import write_whole  # noqa: E402
from common.identity.certificates import Authority  # noqa: E402
from common.identity.signing import SigningKey  # noqa: E402
from common.identity.site_key import create_site_key  # noqa: E402
from common.roster_file import Roster, RosterSite, write_roster  # noqa: E402
from server.console import passwords  # noqa: E402
from server.console.accounts import Role, make_account, save_accounts  # noqa: E402
from server.console.app import make_app  # noqa: E402
from server.console.desk import Desk, accounts_file  # noqa: E402
from server.console.passwords import hash_password  # noqa: E402
from server.consortium.folder import Consortium  # noqa: E402
from server.consortium.settings import ConsortiumSettings  # noqa: E402
from server.result import RunResult  # noqa: E402
from simulations.chaos.arithmetic import BENCH, arithmetic_study, open_cached, write_site  # noqa: E402
from simulations.federation import run_federation  # noqa: E402

SITES = ("hospital-a", "hospital-b")
PASSWORDS = {"maria": "correct horse battery", "vera": "staple of the viewer"}
HIDDEN = re.compile(r'name="csrf" value="([^"]+)"')


def begin(folder: Path, sites: tuple[str, ...] = SITES) -> Consortium:
    """Write a consortium's folder: settings, certificates, signing key, and a roster."""
    consortium = Consortium(folder)
    write_whole(consortium.toml, ConsortiumSettings(name="north", hosts=("gliofed.example.org",)).to_toml().encode())
    authority = Authority.create("north")
    authority.save(consortium.ca, consortium.ca_key)
    authority.issue(("localhost",), consortium.server_certificate, consortium.server_key)
    write_whole(consortium.signing_pub, SigningKey.generate().public.pem.encode())
    entries = {
        site: RosterSite(node=number, signing_key=create_site_key(folder / "of-sites" / site).pem)
        for number, site in enumerate(sites, start=1)
    }
    write_roster(consortium.roster, Roster(sites=entries))
    return consortium


def play(consortium: Consortium, name: str, rounds: int = 1, quorum: int = 2, **more: Any) -> RunResult:
    """Play a run in the consortium's folder, its sites in this process; `more` goes to `run_federation`."""
    study = arithmetic_study(SITES, rounds)
    study = study.model_copy(update={"federation": study.federation.model_copy(update={"quorum": quorum})})
    sites = {site: write_site(consortium.folder / "hospitals" / site, site) for site in study.sites}
    client = more.pop("client", None) or make_client(open_cached, BENCH)
    return run_federation(study, sites, consortium.run(name), client=client, build=BENCH.build_model, **more)


REAL = passwords._HASHER
passwords._HASHER = PasswordHasher(time_cost=1, memory_cost=64, parallelism=1)  # real ones take too long


@pytest.fixture
def real_costs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hashes take what they take outside the tests."""
    monkeypatch.setattr(passwords, "_HASHER", REAL)


@pytest.fixture(scope="session")
def played(tmp_path_factory: pytest.TempPathFactory) -> Consortium:
    """A consortium with an operator, maria, a viewer, vera, and one run, `first`, complete. Not to be changed."""
    consortium = begin(tmp_path_factory.mktemp("played") / "north")
    hashes = {name: hash_password(password, name) for name, password in PASSWORDS.items()}
    roles = {"maria": Role.OPERATOR, "vera": Role.VIEWER}
    save_accounts(accounts_file(consortium), [make_account(name, roles[name], hashes[name]) for name in roles])
    play(consortium, "first").require_complete()
    return consortium


@pytest.fixture
def north(played: Consortium, tmp_path: Path) -> Consortium:
    """A copy of it, to be changed."""
    shutil.copytree(played.folder, tmp_path / "north")
    return Consortium(tmp_path / "north")


@dataclass
class Browser:
    """Somebody at a console: keeps cookies, fills forms in."""

    desk: Desk
    now_s: list[float]
    client: TestClient = field(init=False)

    def __post_init__(self) -> None:
        self.client = self.another()

    def another(self, **more: Any) -> TestClient:
        """Return a client that has no cookie yet."""
        app = make_app(self.desk, {"testserver", "localhost"})
        return TestClient(app, follow_redirects=False, **more)

    def log_in(self, name: str, password: str | None = None, client: TestClient | None = None) -> Any:
        """Fill the form in and send it."""
        client = client or self.client
        form = {"csrf": self.token(client.get("/login").text), "name": name, "password": password or PASSWORDS[name]}
        return client.post("/login", data=form)

    def csrf(self) -> str:
        """Return the token of the session."""
        return self.token(self.client.get("/").text)

    @staticmethod
    def token(page: str) -> str:
        """Return the token of a page's form."""
        found = HIDDEN.search(page)
        assert found is not None, page
        return found.group(1)


@pytest.fixture
def browser(north: Consortium) -> Iterator[Browser]:
    """A browser at the console of `north`, whose clock stands still until a test moves it."""
    now_s = [1000.0]
    yield Browser(Desk(north, clock=lambda: now_s[0]), now_s)


Play = Callable[..., RunResult]


@pytest.fixture
def playing() -> Play:
    """Plays a run of the name given, in the consortium's folder given."""
    return play
