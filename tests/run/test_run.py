"""The whole way on a toy consortium: what matters is that every part meets the next, not how well it learns."""

import json
import shutil

import pytest

from common.errors import StudyError
from common.release import load_release
from common.study import load_study
from simulations.ablations import released
from simulations.ablations.phantoms import scenario_of
from simulations.ablations.records import read_records
from simulations.ablations.released import SamplerSettings, compare_samplers
from simulations.ablations.run import COHORT, COHORT_SEED_OFFSET
from simulations.cohort import cohort_of
from simulations.phantom.cohort import write_cohort
from simulations.report.summary import load_summary
from simulations.run import RunSettings, find_truth, run
from simulations.scale import SCALES
from simulations.scenario import SCENARIO_FOLDER

STUDY = """
name = "toy"
sites = ["hospital-a", "hospital-c"]
reference_site = "hospital-a"
reporting.minimum_count = 1
grid.spacing_mm = [6.0, 6.0, 8.0]
grid.shape = [32, 48]
data.holdout_fraction = 0.34
[stages.generator]
rounds = 1
local_steps = 2
batch_size = 2
[stages.synthesiser]
rounds = 1
local_steps = 2
batch_size = 2
diffusion_steps = 10
sampling_steps = 2
[stages.segmenter]
rounds = 1
local_steps = 40
batch_size = 4
learning_rate = 1e-2
ema_decay = 0.0
[stages.identifier]
rounds = 1
local_steps = 2
batch_size = 2
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A study, its cohort beside it, and phantoms of 4 mm where the run expects its own."""
    folder = tmp_path_factory.mktemp("run")
    (folder / "toy.toml").write_text(STUDY)
    shutil.copy(SCENARIO_FOLDER / "three-hospitals.cohort.toml", folder / "toy.cohort.toml")
    study = load_study(folder / "toy.toml")
    scenario = cohort_of(folder / "toy.toml", study, SCALES["tiny"], 3)
    write_cohort(folder / "out" / "phantom", scenario, None, study.seed, spacing_mm=4.0)
    return folder


@pytest.fixture(scope="module")
def finished(place):
    """The run, its sites one after another in this process."""
    return run(RunSettings(place / "toy.toml", place / "out", patients=3))


def test_a_run_leaves_all_that_the_guide_names(finished, place):
    out = place / "out"
    for name in ("study.toml", "plan.json", "metrics.jsonl", "release/release.json", "summary.json", "report.html"):
        assert (out / name).is_file(), name
    assert load_summary(out / "summary.json") == finished


def test_held_out_patients_are_completed_and_measured_against_the_truth(finished, place):
    assert (finished.data.kind, finished.data.evaluation) == ("synthetic phantom", "held-out")
    assert [site.held_out_patients for site in finished.data.sites] == [1, 1]
    for site in ("hospital-a", "hospital-c"):
        (case,) = (path for path in (place / "out" / "completed" / site).iterdir() if path.is_dir())
        assert (case / "bbb.json").is_file() and (case / "sheet.png").is_file()
    assert len(finished.fidelity) == 2 * 12
    assert {entry.patients for entry in finished.fidelity} == {1}
    assert finished.failures == ()


def test_every_part_was_measured(finished, place):
    assert tuple(stage.stage for stage in finished.stages) == load_study(place / "toy.toml").stages.released
    assert all(stage.parameters > 1000 and len(stage.rounds) == 1 for stage in finished.stages)
    assert {entry.site for entry in finished.hypotheses} == {"all", "hospital-a", "hospital-c"}
    assert {entry.filled for entry in finished.segmentation if entry.patients} >= {None, "T1", "T1Gd", "T2", "FLAIR"}
    assert {area.of for area in finished.identification.areas} == {"identifier", "shares", "latent"}
    assert finished.identification.ceiling == pytest.approx(0.8, abs=1e-3)
    assert finished.fill_gap.held_out_mae is not None
    assert {target.name for target in finished.targets if target.status == "not measured"} <= {"BBB AUC"}


def test_the_report_shows_each_site_and_no_patient_of_the_training(finished, place):
    page = (place / "out" / "report.html").read_text("utf-8")
    assert page.count("data:image/png;base64,") > 10
    assert "hospital-c" in page
    names = {entry["case"] for entry in json.loads((place / "out" / "phantom" / "cohort.json").read_text())["patients"]}
    assert not [name for name in names if name in page]


def test_a_finished_run_is_not_run_over(finished, place):
    with pytest.raises(StudyError, match="holds a run already; give --resume"):
        run(RunSettings(place / "toy.toml", place / "out", patients=3))


def test_what_is_only_for_phantoms_is_refused_beside_real_scans(place):
    with pytest.raises(StudyError, match="leave them out beside --sites"):
        run(RunSettings(place / "toy.toml", place / "other", sites=place, patients=3))


@pytest.mark.slow
def test_sites_in_processes_of_their_own_as_in_the_demo_give_the_same_weights(finished, place):
    shutil.copytree(place / "out" / "phantom", place / "apart" / "phantom")
    run(RunSettings(place / "toy.toml", place / "apart", patients=3, workers=2))
    for stage in load_study(place / "toy.toml").stages.released:
        here, there = (place / name / "release" / f"{stage}.safetensors" for name in ("out", "apart"))
        assert here.read_bytes() == there.read_bytes(), stage


@pytest.mark.slow
def test_a_finished_run_resumes_to_the_same_figures(finished, place):
    again = run(RunSettings(place / "toy.toml", place / "out", patients=3, resume=True))
    assert again.cost.resumed
    assert again.model_copy(update={"cost": finished.cost}) == finished


@pytest.mark.slow
def test_without_a_holdout_the_run_says_that_it_measures_its_own_training_patients(place, finished):
    study = STUDY.replace("0.34", "0.0").replace('"toy"', '"resubstitution"')
    study = study[: study.index("[stages.synthesiser]")]
    (place / "resubstitution.toml").write_text(study)
    shutil.copytree(place / "out" / "phantom" / "sites", place / "hospitals")
    found = run(RunSettings(place / "resubstitution.toml", place / "again", sites=place / "hospitals"))
    assert (found.data.kind, found.data.evaluation) == ("real", "resubstitution")
    assert found.data.note.startswith("Resubstitution")
    assert found.fill_gap is None and found.identification is None
    assert {entry.patients for entry in found.fidelity} <= {1, 2, 3}


def test_the_site_folders_of_a_phantom_cohort_are_known_as_such(place, study):
    settings = RunSettings(place / "toy.toml", place / "other", sites=place / "out" / "phantom" / "sites")
    truth = find_truth(settings, study)
    assert truth is not None and truth.ceiling == pytest.approx(0.8, abs=1e-3)
    assert find_truth(RunSettings(place / "toy.toml", place / "other", sites=place), study) is None


def test_samplers_are_compared_on_the_networks_of_the_release(finished, place, tmp_path, monkeypatch):
    release = place / "out" / "release"
    study = load_study(place / "toy.toml")
    write_cohort(tmp_path / "cohort" / "phantom", scenario_of(COHORT, 3), None, COHORT_SEED_OFFSET + 1, spacing_mm=4.0)
    monkeypatch.setattr(released, "SAMPLERS", (("ddim", 2), ("dpm", 2)))
    assert study.seed == 1
    text = compare_samplers(SamplerSettings(release, tmp_path, patients=3), lambda done, total: None)
    assert load_release(release).digest in text
    first, second = read_records(tmp_path)
    assert (first.trial.arm, second.trial.arm) == ("ddim, 2", "dpm, 2")
    assert first.figures["patients"] == second.figures["patients"] > 0
    assert first.figures["brain MAE"] != second.figures["brain MAE"]
    with pytest.raises(StudyError, match="another cohort"):
        compare_samplers(SamplerSettings(release, tmp_path, patients=4), lambda done, total: None)
