"""What can be wrong with settings, key, kit, roster and name, each with its remedy."""

from __future__ import annotations

from client.doctor.finding import Mark
from client.enrolment.beginning import ask as ask_for_new_key
from common.study import parse_study
from tests.doctor.conftest import STUDY, Hospital


def test_settings_that_cannot_be_read_are_told_with_their_lines(hospital: Hospital) -> None:
    hospital.says("policy.minimum_patients = 0")
    found = hospital.ask("settings")
    assert (found.mark, found.code) == (Mark.FAIL, "site-toml")
    assert "policy.minimum_patients" in found.what
    assert "correct the lines named" in found.remedy


def test_a_password_that_others_can_read_is_closed_by_chmod(hospital: Hospital) -> None:
    hospital.says('connection.proxy = "http://user:secret@127.0.0.1:1"')
    hospital.site.toml.chmod(0o644)
    found = hospital.ask("settings")
    assert (found.mark, found.remedy) == (Mark.FAIL, f"chmod 600 {hospital.site.toml}")
    assert "secret" not in found.what


def test_a_key_that_others_can_read_is_closed_by_chmod(hospital: Hospital) -> None:
    hospital.site.key.chmod(0o640)
    found = hospital.ask("key")
    assert (found.mark, found.code, found.remedy) == (Mark.FAIL, "key-open", f"chmod 600 {hospital.site.key}")


def test_a_lost_key_is_restored_or_made(hospital: Hospital) -> None:
    hospital.site.key.unlink()
    assert "init" in hospital.ask("key").remedy
    assert hospital.ask("roster").mark is Mark.SKIP


def test_a_damaged_key_is_replaced(hospital: Hospital) -> None:
    hospital.site.key.write_text("-----BEGIN OPENSSH PRIVATE KEY-----\n")
    assert "request --new-key" in hospital.ask("key").remedy


def test_a_site_that_has_not_joined_is_told_how(hospital: Hospital) -> None:
    hospital.site.kit.rename(hospital.site.folder / "elsewhere")
    found = hospital.ask("kit")
    assert (found.mark, found.code) == (Mark.FAIL, "not-joined")
    assert "gliofed-client join KIT" in found.remedy
    assert hospital.ask("dns").what == "not checked: the site has not joined"


def test_a_roster_that_was_changed_by_hand_is_found(hospital: Hospital) -> None:
    hospital.site.roster.write_text(hospital.site.roster.read_text().replace("node = 101", "node = 102"))
    found = hospital.ask("kit")
    assert (found.mark, found.code) == (Mark.FAIL, "bad-signature")
    assert "ask the coordinator for the kit again" in found.remedy


def test_another_key_than_the_rosters_is_found(hospital: Hospital) -> None:
    ask_for_new_key(hospital.site, new_key=True)
    assert hospital.ask("roster").code == "next-key"
    hospital.site.next_key.replace(hospital.site.key)
    found = hospital.ask("roster")
    assert (found.mark, found.code) == (Mark.FAIL, "other-key")
    assert "request.json" in found.remedy


def test_a_name_that_the_roster_lacks_is_found(hospital: Hospital) -> None:
    hospital.says('name = "hospital-b"')
    assert hospital.ask("roster").code == "not-on-roster"


def test_a_study_without_this_site_is_found(hospital: Hospital) -> None:
    found = hospital.ask("name", parse_study(STUDY.replace("hospital-a", "hospital-b")))
    assert (found.mark, found.code) == (Mark.FAIL, "other-name")
    assert "give site.toml the name" in found.remedy
