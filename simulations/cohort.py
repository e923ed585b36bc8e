"""The phantoms of a run: drawn once into its folder, found again when the run goes on."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from common.errors import StudyError
from common.study import Study
from simulations.comparison.truth import Truth, read_truth
from simulations.phantom.cohort import load_cohort, write_cohort
from simulations.scale import Scale
from simulations.scenario import Scenario, load_scenario

COHORT = ".cohort.toml"


def cohort_of(study_path: Path, study: Study, scale: Scale, patients: int | None) -> Scenario:
    """Return the cohort of a study: `<stem>.cohort.toml` beside it, with as many patients a site as asked for.

    Args:
        study_path: the study's file.
        study: what it says.
        scale: multiplies the cohort's own numbers of patients.
        patients: patients a site instead; None for the cohort's own.
    Raises:
        StudyError: where there is no such cohort, or it lacks a site of the study.
    """
    path = study_path.with_name(study_path.stem + COHORT)
    if not path.is_file():
        raise StudyError(
            f"{path}: no such cohort; describe the phantoms of {study_path.name} there, "
            "or give the folder of real scans with --sites"
        )
    scenario = load_scenario(path)
    missing = sorted(set(study.sites) - {site.name for site in scenario.sites})
    if missing:
        raise StudyError(f"{path}: lacks {', '.join(missing)}, which {study_path.name} names among its sites")
    sites = tuple(
        site.model_copy(update={"patients": patients or round(site.patients * scale.patients)})
        for site in scenario.sites
        if site.name in study.sites
    )
    return scenario.model_copy(update={"sites": sites})


def draw_phantoms(
    folder: Path, scenario: Scenario, seed: int, workers: int, advance: Callable[[int, int], None]
) -> Truth:
    """Draw the cohort into `folder`, aside and renamed; one that is there already is kept if it is the same.

    Raises:
        StudyError: where `folder` holds another cohort.
        DataError: where it cannot be written.
    """
    if folder.exists():
        facts = load_cohort(folder)
        if facts["scenario"] != scenario.model_dump(mode="json") or facts["seed"] != seed:
            raise StudyError(f"{folder}: holds phantoms of another cohort, size or seed; choose another --out")
        return read_truth(folder)
    aside = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(aside, ignore_errors=True)
    write_cohort(aside, scenario, None, seed, workers=workers, on_patient=advance)
    aside.rename(folder)
    return read_truth(folder)
