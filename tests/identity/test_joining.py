"""A site is begun once, joins with a kit of the signer that a person confirmed, and never goes back to an older one."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from client.enrolment.beginning import ask, begin_site
from client.enrolment.folder import SiteFolder
from client.enrolment.joining import check_signer, installed_card, join, trusted_signer
from client.enrolment.status import status_of
from common.errors import PolicyError, StudyError
from common.identity.site_key import load_site_key
from server.consortium.beginning import begin_consortium
from server.consortium.folder import Consortium
from tests.identity.conftest import HOST, Register, World


def test_a_sites_key_and_settings_are_for_their_owner_alone(world: World) -> None:
    site = world.site("hospital-a")
    assert {path.stat().st_mode & 0o077 for path in (site.key, site.toml, site.folder)} == {0}
    assert world.consortium.folder.stat().st_mode & 0o077 == 0
    assert site.config.policy.single_owner_heads_in_clear is False
    assert (site.config.signing_key, site.config.roster) == (site.key, site.roster)


def test_nothing_of_a_site_is_overwritten_and_all_problems_are_named(world: World) -> None:
    site = world.site("hospital-a")
    key = site.key.read_bytes()
    with pytest.raises(StudyError) as caught:
        begin_site(site, "Hospital A", world.folder / "nowhere")
    assert len(str(caught.value).splitlines()) == 4
    assert site.key.read_bytes() == key


def test_the_working_folder_never_lies_among_the_scans(world: World) -> None:
    (world.folder / "scans").mkdir()
    place = SiteFolder(world.folder / "scans" / "gliofed" / "site.toml")
    with pytest.raises(StudyError, match="never written to"):
        begin_site(place, "hospital-a", world.folder / "scans")
    assert not place.key.exists()


def test_a_kit_is_put_in_place_whole(world: World) -> None:
    world.admit("hospital-a")
    site = world.site("hospital-a")
    join(site, world.kit("hospital-a"))
    card = installed_card(site)
    assert card is not None
    assert card.address == f"{HOST}:443"
    assert {path.name: path.read_bytes() for path in site.kit.iterdir()} == dict(world.kit("hospital-a").pages)
    assert sorted(path.name for path in site.folder.iterdir()) == ["keys", "kit", "request.json", "site.toml"]


def test_a_kit_whose_writing_fails_leaves_the_old_one(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.admit("hospital-a")
    site = world.site("hospital-a")
    join(site, world.kit("hospital-a"))
    before = installed_card(site)
    world.admit("hospital-b")

    def full(*_: object) -> None:
        raise StudyError("the disk is full")

    with monkeypatch.context() as patched, pytest.raises(StudyError):
        patched.setattr("client.enrolment.joining.write_whole", full)
        join(site, world.kit("hospital-a"))
    assert installed_card(site) == before
    join(site, world.kit("hospital-a"))
    assert status_of(site).sites == ("hospital-a", "hospital-b")


def test_only_the_signer_that_was_read_out_is_trusted(world: World) -> None:
    world.admit("hospital-a")
    kit = world.kit("hospital-a")
    check_signer(kit, world.key.public.fingerprint)
    with pytest.raises(PolicyError, match="nothing was installed"):
        check_signer(kit, "SHA256:abc")


def test_a_kit_that_does_not_admit_this_site_is_refused(world: World) -> None:
    world.admit("hospital-b")
    site = world.site("hospital-a")
    with pytest.raises(PolicyError, match="does not name hospital-a"):
        join(site, world.kit("hospital-b"))
    world.admit("hospital-a")
    shutil.rmtree(site.key.parent)
    site.toml.unlink()
    fresh = world.site("hospital-a")
    with pytest.raises(PolicyError, match="holds another key for hospital-a"):
        join(fresh, world.kit("hospital-a"))
    assert not fresh.kit.exists()


def test_an_older_kit_never_replaces_a_newer_one(world: World) -> None:
    world.admit("hospital-a")
    old, site = world.kit("hospital-a"), world.site("hospital-a")
    world.admit("hospital-b")
    join(site, world.kit("hospital-a"))
    with pytest.raises(PolicyError, match="older than the one in use"):
        join(site, old)


def test_a_kit_of_another_consortium_may_follow_once_its_signer_is_confirmed(world: World) -> None:
    world.admit("hospital-a")
    site = world.site("hospital-a")
    other = World(world.folder, Consortium(world.folder / "other"), Register())
    begin_consortium(other.consortium, world.consortium.settings)
    other.admit("hospital-a")
    join(site, world.kit("hospital-a"))
    assert trusted_signer(site) != other.kit("hospital-a").signer
    join(site, other.kit("hospital-a"))
    assert trusted_signer(site) == other.key.public


def test_a_new_key_is_in_use_once_a_kit_admits_the_site_with_it(world: World) -> None:
    world.admit("hospital-a")
    site = world.site("hospital-a")
    join(site, world.kit("hospital-a"))
    old = load_site_key(site.key).public
    new = ask(site, new_key=True)
    assert ask(site) == new, "until then the request is the new key's"
    assert (status_of(site).fingerprint, status_of(site).next_fingerprint) == (old.fingerprint, new.fingerprint)
    world.admit("hospital-a", replace_key=True)
    join(site, world.kit("hospital-a"))
    assert load_site_key(site.key).public == new
    assert site.public_key.read_text() == f"{new.openssh}\n"
    assert not site.next_key.exists()


class _Killed(BaseException):
    """The program ends here."""


@pytest.mark.parametrize("moment", range(1, 10))
def test_a_new_key_is_put_in_place_whenever_the_joining_was_killed(
    world: World, monkeypatch: pytest.MonkeyPatch, moment: int
) -> None:
    """Before each renaming and each removal, of the kit's six files first."""
    world.admit("hospital-a")
    site = world.site("hospital-a")
    new = ask(site, new_key=True)
    world.admit("hospital-a", replace_key=True)
    calls = count(1)

    def dying(method: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*given: Any, **more: Any) -> Any:
            if next(calls) == moment:
                raise _Killed
            return method(*given, **more)

        return wrapped

    with monkeypatch.context() as patch, pytest.raises(_Killed):
        for name in ("replace", "rename", "unlink"):
            patch.setattr(Path, name, dying(getattr(Path, name)))
        join(site, world.kit("hospital-a"))
    join(site, world.kit("hospital-a"))
    assert load_site_key(site.key).public == new and installed_card(site) is not None
    assert site.public_key.read_text() == f"{new.openssh}\n"
    assert ask(site, new_key=True) != new, "the next one can be born"


def test_only_one_new_key_waits_at_a_time(world: World) -> None:
    site = world.site("hospital-a")
    ask(site, new_key=True)
    with pytest.raises(StudyError, match="a key is there already"):
        ask(site, new_key=True)


def test_the_status_of_a_site_that_has_not_joined(world: World, tmp_path: Path) -> None:
    status = status_of(world.site("hospital-a"))
    assert (status.consortium, status.authority_days, status.server_days, status.approved_plans) == (
        None,
        None,
        None,
        0,
    )
    approvals = world.site("hospital-a").approvals
    approvals.mkdir(parents=True)
    (approvals / "a.json").write_text("{}")
    assert status_of(world.site("hospital-a")).approved_plans == 1
