"""A consortium's folder in which one small run was played to its release."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from simulations.environment import quieten_flower

quieten_flower()

from client.app import make_app  # noqa: E402
from common.files import write_whole  # noqa: E402
from common.identity.certificates import Authority  # noqa: E402
from common.identity.signing import SigningKey  # noqa: E402
from common.identity.site_key import create_site_key  # noqa: E402
from common.roster_file import Roster, RosterSite, write_roster  # noqa: E402
from common.study import Study  # noqa: E402
from server.consortium.folder import Consortium  # noqa: E402
from server.consortium.settings import ConsortiumSettings  # noqa: E402
from server.result import RunResult  # noqa: E402
from simulations.chaos.arithmetic import BENCH, arithmetic_study, open_cached, write_site  # noqa: E402
from simulations.federation import run_federation  # noqa: E402

SITES = ("hospital-a", "hospital-b")


def begin(folder: Path, sites: tuple[str, ...] = SITES) -> Consortium:
    """Write a consortium's folder: settings, certificates, signing key, and a roster."""
    consortium = Consortium(folder)
    settings = ConsortiumSettings(name="north", hosts=("localhost",))
    write_whole(consortium.toml, settings.to_toml().encode())
    authority = Authority.create("north")
    authority.save(consortium.ca, consortium.ca_key)
    authority.issue(("localhost",), consortium.server_certificate, consortium.server_key)
    key = SigningKey.generate()
    key.save(consortium.signing_key)
    write_whole(consortium.signing_pub, key.public.pem.encode())
    entries = {
        site: RosterSite(node=number, signing_key=create_site_key(folder / "of-sites" / site).pem)
        for number, site in enumerate(sites, start=1)
    }
    write_roster(consortium.roster, Roster(sites=entries))
    return consortium


def play(consortium: Consortium, name: str, study: Study | None = None, **more: Any) -> RunResult:
    """Play a run in the consortium's folder, its sites in this process; `more` goes to `run_federation`."""
    study = arithmetic_study(SITES) if study is None else study
    sites = {site: write_site(consortium.folder / "hospitals" / site, site) for site in study.sites}
    client = more.pop("client", None) or make_app(open_cached, BENCH)
    return run_federation(study, sites, consortium.run(name), client=client, build=BENCH.build_model, **more)


@pytest.fixture(scope="session")
def played(tmp_path_factory: pytest.TempPathFactory) -> Consortium:
    """A consortium with one run, `first`, complete. Read only: a test that changes it takes a copy."""
    consortium = begin(tmp_path_factory.mktemp("played") / "north")
    play(consortium, "first").require_complete()
    return consortium


@pytest.fixture
def north(played: Consortium, tmp_path: Path) -> Consortium:
    """A copy of it, to be changed."""
    shutil.copytree(played.folder, tmp_path / "north")
    return Consortium(tmp_path / "north")


@pytest.fixture
def tools() -> SimpleNamespace:
    """What the tests build with."""
    return SimpleNamespace(begin=begin, play=play, study=arithmetic_study, sites=SITES)
