import shutil

import pytest

from common.errors import StudyError
from simulations.cohort import cohort_of, draw_phantoms
from simulations.scale import Scale
from simulations.scenario import SCENARIO_FOLDER

AS_WRITTEN = Scale(rounds=1, patients=1)


@pytest.fixture
def study_path(tmp_path):
    shutil.copy(SCENARIO_FOLDER / "three-hospitals.cohort.toml", tmp_path / "study.cohort.toml")
    return tmp_path / "study.toml"


def counts(scenario):
    return [site.patients for site in scenario.sites]


def test_the_cohort_beside_the_study_has_the_studys_sites_alone(study_path, study):
    scenario = cohort_of(study_path, study, AS_WRITTEN, None)
    assert [site.name for site in scenario.sites] == ["hospital-a", "hospital-b"]


def test_a_scale_multiplies_patients_and_a_number_replaces_them(study_path, study):
    written = counts(cohort_of(study_path, study, AS_WRITTEN, None))
    assert counts(cohort_of(study_path, study, Scale(rounds=1, patients=2), None)) == [2 * n for n in written]
    assert counts(cohort_of(study_path, study, Scale(rounds=1, patients=2), 3)) == [3, 3]


def test_a_study_without_a_cohort_says_where_one_is_expected(tmp_path, study):
    with pytest.raises(StudyError, match=r"study\.cohort\.toml: no such cohort; .* --sites"):
        cohort_of(tmp_path / "study.toml", study, AS_WRITTEN, None)


def test_a_cohort_that_lacks_a_site_names_it(study_path, study):
    wider = study.model_copy(update={"sites": (*study.sites, "hospital-z")})
    with pytest.raises(StudyError, match="lacks hospital-z"):
        cohort_of(study_path, wider, AS_WRITTEN, None)


def test_phantoms_are_drawn_once_found_again_and_never_mixed(study_path, study, tmp_path):
    alone = study.model_copy(update={"sites": ("hospital-a",)})
    scenario = cohort_of(study_path, alone, AS_WRITTEN, 1)
    steps = []
    truth = draw_phantoms(tmp_path / "phantom", scenario, 1, 1, lambda done, total: steps.append((done, total)))
    assert steps == [(1, 1)]
    ((site, case),) = truth.patients
    assert site == "hospital-a" and (truth.folder / site / case / "brain.nii.gz").is_file()
    assert truth.latent(site, case) == truth.patients[site, case]["latent"]
    assert draw_phantoms(tmp_path / "phantom", scenario, 1, 1, lambda done, total: steps.append("again")) == truth
    assert steps == [(1, 1)]
    with pytest.raises(StudyError, match="another cohort"):
        draw_phantoms(tmp_path / "phantom", scenario, 2, 1, lambda done, total: None)
