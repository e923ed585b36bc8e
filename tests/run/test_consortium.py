import pytest

from client.config import load_site
from common.errors import StudyError
from simulations.consortium import write_site_files


def test_a_site_gets_a_file_of_its_own_and_its_scans_are_not_touched(study, tmp_path):
    for site in study.sites:
        (tmp_path / "sites" / site).mkdir(parents=True)
    files = write_site_files(study, tmp_path / "sites", tmp_path / "run" / "sites")
    config = load_site(files["hospital-b"])
    assert (config.name, config.folder) == ("hospital-b", (tmp_path / "sites" / "hospital-b").resolve())
    assert list((tmp_path / "sites" / "hospital-b").iterdir()) == []


def test_a_sites_own_file_goes_before_its_folder(study, tmp_path):
    for site in study.sites:
        (tmp_path / site).mkdir()
    (tmp_path / "hospital-a.toml").write_text("own")
    files = write_site_files(study, tmp_path, tmp_path / "run")
    assert files["hospital-a"] == tmp_path / "hospital-a.toml"


def test_all_missing_sites_are_named_at_once(study, tmp_path):
    with pytest.raises(StudyError, match="nothing for hospital-a, hospital-b"):
        write_site_files(study, tmp_path, tmp_path / "run")
