"""A site is admitted by the fingerprint that it read out, gets its node once, and is shut out for good."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from client.enrolment.beginning import ask
from common.errors import FederationError, PolicyError, StudyError
from common.identity.kit import open_kit
from common.identity.signing import SignatureError, SigningKey
from common.identity.site_key import load_site_key
from common.roster_file import load_roster
from server.consortium.admission import check_fingerprint, hear, revoke
from server.consortium.beginning import begin_consortium
from server.consortium.folder import Consortium
from server.consortium.renewal import certificate_days, renew
from server.consortium.revoked import load_revoked
from server.consortium.sealing import find_signing_key, seal
from tests.identity.conftest import World


def test_a_consortium_begins_with_keys_for_their_owner_alone(world: World) -> None:
    place = world.consortium
    keys = (place.signing_key, place.ca_key, place.server_key, place.loopback_key)
    assert {key.stat().st_mode & 0o077 for key in keys} == {0}
    assert not place.roster.exists()
    with pytest.raises(StudyError, match="a consortium is there already"):
        begin_consortium(place, place.settings)


def test_a_beginning_that_was_broken_off_begins_again_with_the_same_signing_key(world: World) -> None:
    key, settings = world.key.public, world.consortium.settings
    world.consortium.toml.unlink()
    assert begin_consortium(world.consortium, settings) == key


def test_the_signing_key_may_be_born_elsewhere(world: World) -> None:
    other = Consortium(world.folder / "other")
    begin_consortium(other, world.consortium.settings, world.folder / "usb" / "signing.key")
    assert not other.signing_key.exists()
    assert find_signing_key(other, None) is None
    assert find_signing_key(other, world.folder / "usb" / "signing.key") is not None


def test_only_the_fingerprint_that_was_read_out_admits(world: World) -> None:
    site = world.site("hospital-a")
    applicant = hear(world.consortium, site.request.read_bytes(), "request.json")
    check_fingerprint(applicant, load_site_key(site.key).public.fingerprint)
    for said in ("", "SHA256:", SigningKey.generate().public.fingerprint):
        with pytest.raises(PolicyError, match="nothing was admitted"):
            check_fingerprint(applicant, said)


def test_an_admitted_site_stands_on_a_signed_roster_and_every_site_has_its_kit(world: World) -> None:
    first, second = world.admit("hospital-a"), world.admit("hospital-b")
    assert (first.node, second.node) == (101, 102)
    assert [kit.name for kit in second.sealed.kits] == ["hospital-a.zip", "hospital-b.zip"]
    roster = world.kit("hospital-a").roster
    assert dict(roster.nodes) == {"hospital-a": 101, "hospital-b": 102}
    assert roster.sites["hospital-b"].signing_key == load_site_key(world.site("hospital-b").key).public.pem


def test_admitting_again_changes_nothing(world: World) -> None:
    world.admit("hospital-a")
    before = world.consortium.roster.read_bytes()
    assert world.admit("hospital-a").node == 101
    assert world.consortium.roster.read_bytes() == before


def test_where_flower_does_not_answer_nothing_is_admitted(world: World) -> None:
    world.register.answers = False
    with pytest.raises(FederationError):
        world.admit("hospital-a")
    assert not world.consortium.roster.exists()


def test_a_key_is_one_sites_alone(world: World) -> None:
    world.admit("hospital-a")
    b = world.site("hospital-b")
    shutil.copy(world.site("hospital-a").key, b.key)
    ask(b)
    with pytest.raises(PolicyError, match="this key is hospital-a's"):
        world.admit("hospital-b")


def test_a_site_with_another_key_is_not_admitted_by_mistake(world: World) -> None:
    world.admit("hospital-a")
    ask(world.site("hospital-a"), new_key=True)
    with pytest.raises(StudyError, match="--replace-key"):
        world.admit("hospital-a")


def test_a_new_key_takes_the_old_ones_place_and_the_old_one_never_comes_back(world: World) -> None:
    site = world.site("hospital-a")
    old_request = site.request.read_bytes()
    world.admit("hospital-a")
    ask(site, new_key=True)
    assert world.admit("hospital-a", replace_key=True).node == 102
    assert world.register.gone == {101}
    assert dict(load_roster(world.consortium.roster).nodes) == {"hospital-a": 102}
    with pytest.raises(PolicyError, match="revoked and never comes back"):
        hear(world.consortium, old_request, "request.json", replace_key=True)


def test_a_revoked_site_is_off_the_roster_off_flower_and_has_no_kit(world: World) -> None:
    world.admit("hospital-a")
    world.admit("hospital-b")
    sealed = revoke(world.consortium, "hospital-a", world.register, world.key)
    assert sealed.kits == (world.consortium.kit("hospital-b"),)
    assert list(world.kit("hospital-b").roster.sites) == ["hospital-b"]
    assert not world.consortium.kit("hospital-a").exists()
    assert world.register.gone == {101}
    with pytest.raises(PolicyError, match="never comes back"):
        world.admit("hospital-a")


def test_the_last_site_may_be_revoked(world: World) -> None:
    world.admit("hospital-a")
    revoke(world.consortium, "hospital-a", world.register, world.key)
    assert not world.consortium.roster.exists()
    assert list(world.consortium.folder.glob("*.sig")) == []
    ask(world.site("hospital-a"), new_key=True)
    assert world.admit("hospital-a").node == 102


def test_a_site_is_off_the_roster_even_while_flower_does_not_answer(world: World) -> None:
    world.admit("hospital-a")
    world.register.answers = False
    with pytest.raises(FederationError):
        revoke(world.consortium, "hospital-a", world.register, world.key)
    assert not world.consortium.roster.exists()
    world.register.answers = True
    revoke(world.consortium, "hospital-a", world.register, world.key)
    assert world.register.gone == {101}


def test_a_site_that_nobody_admitted_cannot_be_revoked(world: World) -> None:
    world.admit("hospital-a")
    with pytest.raises(StudyError, match="admitted are: hospital-a"):
        revoke(world.consortium, "hospital-z", world.register, world.key)


def test_a_damaged_list_of_revoked_keys_admits_nobody(world: World) -> None:
    world.consortium.revoked.write_text("keys = 1")
    with pytest.raises(StudyError, match="put it back from a backup"):
        world.admit("hospital-a")


def test_without_the_signing_key_the_roster_waits_for_its_signature(world: World) -> None:
    key, place = world.key, world.consortium
    assert not world.admit("hospital-a", signed=False).sealed.signed
    assert not place.kit("hospital-a").exists()
    assert seal(place, key).kits == (place.kit("hospital-a"),)
    world.admit("hospital-b", signed=False)
    assert not place.kit("hospital-a").exists(), "a kit of the roster before this one is gone"


def test_the_roster_is_signed_on_a_machine_that_holds_neither_certificates_nor_requests(
    world: World, tmp_path: Path
) -> None:
    world.admit("hospital-a", signed=False)
    apart = Consortium(tmp_path / "apart")
    apart.folder.mkdir()
    for file in ("consortium.toml", "signing.pub", "roster.toml", "consortium.json"):
        shutil.copy(world.consortium.folder / file, apart.folder)
    shutil.move(world.consortium.signing_key, apart.folder)
    assert seal(apart, find_signing_key(apart, None)).signed
    for file in ("roster.toml.sig", "consortium.json.sig"):
        shutil.copy(apart.folder / file, world.consortium.folder)
    sealed = seal(world.consortium, find_signing_key(world.consortium, None))
    assert open_kit(sealed.kits[0].read_bytes()).roster.nodes == {"hospital-a": 101}


def test_a_signature_that_belongs_to_another_roster_is_told(world: World) -> None:
    world.admit("hospital-a")
    old = (world.consortium.folder / "roster.toml.sig").read_bytes()
    world.admit("hospital-b")
    (world.consortium.folder / "roster.toml.sig").write_bytes(old)
    with pytest.raises(SignatureError, match="gliofed-server sign"):
        seal(world.consortium, None)


def test_another_key_signs_nothing(world: World, tmp_path: Path) -> None:
    SigningKey.generate().save(tmp_path / "other.key")
    with pytest.raises(PolicyError, match="which the sites trust"):
        find_signing_key(world.consortium, tmp_path / "other.key")


def test_a_renewed_certificate_is_of_the_same_authority_and_no_kit_changes(world: World) -> None:
    world.admit("hospital-a")
    place = world.consortium
    kit, loopback, before = (
        path.read_bytes() for path in (place.kit("hospital-a"), place.loopback_certificate, place.server_certificate)
    )
    renew(place)
    assert place.server_certificate.read_bytes() != before
    assert (place.kit("hospital-a").read_bytes(), place.loopback_certificate.read_bytes()) == (kit, loopback)
    assert {name: round(days) for name, days in certificate_days(place).items()} == {
        "authority": 3653,
        "server": 397,
        "loopback": 3653,
    }


def test_revoked_keys_are_read_back(world: World) -> None:
    world.admit("hospital-a")
    fingerprint = load_site_key(world.site("hospital-a").key).public.fingerprint
    revoke(world.consortium, "hospital-a", world.register, world.key)
    revoked = load_revoked(world.consortium.revoked)
    assert revoked.holds(fingerprint)
    assert revoked.nodes("hospital-a") == (101,)
