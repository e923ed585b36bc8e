"""The pages on a hospital's scans and on studies of phantoms, line by line from empty folders; slow.

The coordinator and the hospital of these pages need no network: the coordinator trains on its own machine. The hospital
completes its cases with the release that came of the coordinator's lines.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from common.release import load_release
from simulations.phantom.cohort import write_cohort
from simulations.scenario import SCENARIO_FOLDER, load_scenario
from tests.deployment.pages import ELSEWHERE, FENCE, WALKS, commands, due, section
from tests.deployment.walk import Party, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

WALK = "tests/deployment/test_simulated_pages.py"
CATALOG, CHECK, PREPARE, COMPLETE, COORDINATOR = WALKS[WALK]
NEW_SITE = "hospital-c"
SPACING_MM = 4.0
ENDED = "report.html"
"""What a run writes last."""
PATIENCE_S = 600.0

SMALL = """
name = "small"
sites = ["hospital-a", "hospital-b"]
reference_site = "hospital-a"
[grid]
spacing_mm = [4.0, 4.0, 8.0]
shape = [48, 48]
[data]
holdout_fraction = 0.25
minimum_patients = 1
[reporting]
minimum_count = 1
[federation]
quorum = 2
required = ["hospital-a"]
"""
STAGE = """
[stages.{name}]
rounds = 2
local_steps = 2
batch_size = 2
"""


def small_study(sites: tuple[str, ...] = ("hospital-a", "hospital-b"), start_from: str = "") -> str:
    """Return a study of two rounds of two steps a stage; an identifier would need a segmenter that finds tumours."""
    text = SMALL.replace('["hospital-a", "hospital-b"]', json.dumps(sites))
    for stage in ("synthesiser", "segmenter", "generator"):
        text += STAGE.format(name=stage)
    return text + (f'start_from = "{start_from}"\n' if start_from else "")


@pytest.fixture(scope="module")
def scans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three hospitals' folders of scans."""
    folder = tmp_path_factory.mktemp("phantom")
    return write_cohort(folder, load_scenario("three-hospitals"), 4, 11, SPACING_MM).sites


@pytest.fixture(scope="module")
def coordinator(tmp_path_factory: pytest.TempPathFactory, scans: Path) -> Party:
    """Somebody with a study, a cohort beside it, and sites' folders."""
    folder = tmp_path_factory.mktemp("coordinator")
    (folder / "study.toml").write_text(small_study())
    shutil.copy(SCENARIO_FOLDER / "three-hospitals.cohort.toml", folder / "study.cohort.toml")
    shutil.copytree(scans, folder / "sites")
    return Party(folder, {})


@pytest.fixture(scope="module")
def hospital(tmp_path_factory: pytest.TempPathFactory, scans: Path) -> Party:
    """Somebody with scans, and with a study that is to come."""
    folder = tmp_path_factory.mktemp("hospital")
    (folder / "study.toml").write_text(small_study())
    shutil.copytree(scans / "hospital-a", folder / "scans")
    return Party(folder, {"hospital-d": "hospital-a"})


def verb(name: str, place: str = COORDINATOR, holding: str = "") -> str:
    """Return the one line of a page with this verb that holds these words."""
    (line,) = [line for line in commands(place) if line.split()[1] == name and holding in line]
    return line


def test_a_hospital_looks_through_its_scans_and_prepares_them(hospital: Party) -> None:
    assert "4 cases of 4 patients" in hospital.type(verb("catalog", CATALOG, "./scans"))
    assert "0 errors" in hospital.type(verb("check", CHECK))
    assert "4 of 4 cases prepared" in hospital.type(verb("prepare", PREPARE))
    assert list((hospital.folder / "cache").iterdir())


def test_any_other_layout_is_told_as_the_page_tells_it(hospital: Party) -> None:
    (told,) = [text for kind, text in FENCE.findall(section(*CATALOG.split("#"))) if kind == "toml"]
    glioma = hospital.folder / "glioma"
    (hospital.folder / "site.toml").write_text(told.replace("/data", str(hospital.folder)))
    for number, case in enumerate(sorted((hospital.folder / "scans").glob("hospital-a-00*")), start=1):
        to = glioma / f"patient-{number}" / f"scan-{number}"
        to.mkdir(parents=True)
        shutil.copy(case / f"{case.name}_flair.nii.gz", to / "flair.nii.gz")
        if (pre := case / f"{case.name}_t1.nii.gz").exists():
            shutil.copy(pre, to / "pre.nii.gz")
    said = hospital.ask(verb("catalog", CATALOG, "--site"))
    assert [case["patient"] for case in said["cases"]] == ["patient-1", "patient-2", "patient-3", "patient-4"]


def test_a_coordinator_tries_a_study_on_phantoms(coordinator: Party) -> None:
    coordinator.type(verb("check"))
    coordinator.type(verb("run", holding="./trial"), more="--patients 4")
    assert (coordinator.folder / "trial" / ENDED).is_file()


def test_it_asks_what_a_part_of_a_method_is_worth(coordinator: Party) -> None:
    """One of three parts, one of the page's three seeds, on the study above: the last of an option's values counts."""
    scenario = coordinator.folder / "simulations" / "scenarios" / "ablation.toml"
    scenario.parent.mkdir(parents=True)
    scenario.write_text(small_study(("hospital-a", "hospital-b", NEW_SITE)))
    said = coordinator.type(verb("ablate"), more="--seeds 1 --patients 4 --part generator")
    assert "no lesion module" in said
    assert (coordinator.folder / "ablation" / "tables.md").read_text() in said


def test_a_run_stands_still_and_goes_on_when_asked(coordinator: Party) -> None:
    pause, status, resume = verb("pause"), verb("status"), verb("resume")
    with begun(coordinator):
        coordinator.type(pause)
        wait_until(lambda: coordinator.ask(status)["state"] == "paused", "the run is paused")
        coordinator.type(resume)
    assert (coordinator.folder / "run" / ENDED).is_file()


def test_another_run_ends_for_good_when_asked(coordinator: Party) -> None:
    another = Party(coordinator.folder, {"./run": "./stopped"}, coordinator.typed)
    with begun(another):
        another.type(verb("stop"))
    assert another.ask(verb("status"))["state"] == "incomplete"
    assert "hospital-b" in another.type(verb("withdraw", holding="hospital-b"))
    assert "2" in coordinator.type(verb("withdraw", holding="--patients"))


@contextmanager
def begun(coordinator: Party) -> Iterator[None]:
    """Begin the page's run; what is left of it ends with the block."""
    line = verb("run", holding="--out ./run")
    program = coordinator.start(line)
    folder = coordinator.folder / coordinator.words.get("./run", "./run")
    try:
        wait_until(lambda: (folder / "journal").exists() or not program.alive, "the run has begun", PATIENCE_S)
        yield
        wait_until(lambda: not program.alive, "the program has ended", PATIENCE_S)
    finally:
        program.end()


def test_a_hospital_joins_later_and_the_run_goes_on_from_the_release(coordinator: Party) -> None:
    digest = coordinator.ask(verb("verify"))["digest"]
    assert re.fullmatch(r"[0-9a-f]{64}", digest)
    text = small_study(("hospital-a", "hospital-b", NEW_SITE), start_from=digest)
    (coordinator.folder / "study.toml").write_text(text)
    coordinator.type(verb("run", holding="--start-from"))
    release = load_release(coordinator.folder / "second" / "release")
    assert NEW_SITE in {domain.site for domain in release.domains}


def test_a_hospital_completes_its_cases_with_the_release_of_the_coordinators_run(
    coordinator: Party, hospital: Party
) -> None:
    shutil.copytree(coordinator.folder / "run" / "release", hospital.folder / "release")
    hospital.type(verb("verify", COMPLETE))
    assert "4 cases completed" in hospital.type(verb("complete", COMPLETE))
    for case in ("hospital-a-001", "hospital-a-004"):
        written = {path.name for path in (hospital.folder / "completed" / case).iterdir()}
        assert "sheet.png" in written
        assert any("_harmonized" in name for name in written)


def test_nothing_of_these_pages_was_left_out(coordinator: Party, hospital: Party) -> None:
    typed = {*coordinator.typed, *hospital.typed}
    assert due(WALK) - typed == set()
    assert not typed & ELSEWHERE.keys()
