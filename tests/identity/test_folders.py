"""`consortium.toml` is parsed strictly, and both folders say where what lies."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from client.enrolment.folder import SiteFolder
from common.errors import StudyError
from server.consortium.folder import Consortium
from server.consortium.settings import ConsortiumSettings, parse_consortium

SETTINGS = ConsortiumSettings(name="glioma-net", hosts=("gliofed.example.org", "192.0.2.7"))


def test_settings_are_read_back_as_they_were_written() -> None:
    assert parse_consortium(SETTINGS.to_toml()) == SETTINGS


def test_every_problem_of_the_settings_is_named_at_once_with_its_line() -> None:
    text = 'schema_version = 1\nname = "Glioma"\nhosts = ["https://a"]\nport = 0\n[ports]\nhubb = 1\n'
    with pytest.raises(StudyError) as caught:
        parse_consortium(text)
    said = str(caught.value).splitlines()
    assert [line.split(": ")[0] for line in said] == [f"consortium.toml:{line}" for line in (2, 3, 4, 6)]
    assert "unknown key" in said[3]


def test_two_programs_on_one_port_are_refused() -> None:
    with pytest.raises(StudyError, match="two programs have the same port"):
        parse_consortium('name = "a"\nhosts = ["b"]\nfleet_port = 9464\n')


@given(st.text(max_size=300) | st.text(alphabet='abnhost=[]".\n 0129', max_size=60))
def test_any_text_is_settings_or_a_clear_error(text: str) -> None:
    with pytest.raises(StudyError):
        parse_consortium(text)


def test_a_folder_without_settings_says_how_to_begin(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match="gliofed-server init"):
        Consortium.open(tmp_path)
    (tmp_path / "consortium.toml").write_text(SETTINGS.to_toml())
    consortium = Consortium.open(tmp_path)
    assert consortium.settings == SETTINGS
    assert consortium.kit("hospital-a") == tmp_path / "kits" / "hospital-a.zip"
    assert consortium.superlink_database == tmp_path / "flower" / "superlink.db"


def test_a_sites_working_folder_is_the_one_that_site_toml_names(tmp_path: Path) -> None:
    (tmp_path / "site.toml").write_text('name = "a"\nfolder = "scans"\nworkdir = "elsewhere"\n')
    site = SiteFolder(tmp_path / "site.toml")
    assert (site.key, site.roster) == (tmp_path / "keys" / "site.key", tmp_path / "kit" / "roster.toml")
    assert site.approvals == tmp_path / "elsewhere" / "approvals"
