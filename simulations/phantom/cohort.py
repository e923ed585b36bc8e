"""A phantom consortium on disk: site folders as hospitals keep them, the whole truth beside them, and who is who."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from math import erf
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common.errors import DataError, StudyError

if TYPE_CHECKING:
    from simulations.phantom.patient import Patient
    from simulations.scenario import Hospital, Scenario

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Cohort:
    """A written consortium.

    Attributes:
        folder: where it lies.
        scenario: its scenario.
        patients: all patients, by site and number.
    """

    folder: Path
    scenario: Scenario
    patients: tuple[Patient, ...]

    @property
    def sites(self) -> Path:
        """Folder of the hospitals' folders; the only one that training may read."""
        return self.folder / "sites"

    @property
    def truth(self) -> Path:
        """Folder of all sequences of all patients, `<site>/<case>/<sequence>.nii.gz`; for comparison alone."""
        return self.folder / "truth"


def bbb_ceiling(separation: float) -> float:
    """Return Φ(d / √2), the AUC that no classifier without gadolinium can exceed (data-processing inequality)."""
    return 0.5 * (1 + erf(separation / 2))


def draw_patients(scenario: Scenario, patients: int | None, seed: int) -> tuple[Patient, ...]:
    """Draw everybody, without any image; `patients` at each site, or as many as the scenario says."""
    from simulations.phantom.patient import draw_patient

    return tuple(
        draw_patient(scenario, hospital, number, seed)
        for hospital in scenario.sites
        for number in range(1, (patients or hospital.patients) + 1)
    )


def write_cohort(
    out: Path,
    scenario: Scenario,
    patients: int | None,
    seed: int,
    spacing_mm: float = 2.0,
    with_skull: bool = False,
    workers: int = 1,
    on_patient: Callable[[int, int], None] | None = None,
) -> Cohort:
    """Write a consortium below `out`; equal arguments write equal bytes, whatever the number of workers.

    Args:
        out: an empty or new folder.
        scenario: the consortium.
        patients: patients at each site; None for the scenario's own numbers.
        seed: decides everything that is drawn.
        spacing_mm: the phantom's voxel size, 1 to 4 mm; a scanner's slices may be thicker.
        with_skull: keep skull, scalp and air, and leave the brain masks out of the site folders.
        workers: processes.
        on_patient: called with (patients written, patients in all).
    Raises:
        DataError: where `out` holds something already, or cannot be written.
        StudyError: where `patients` or `spacing_mm` is out of range.
    """
    if out.exists() and any(out.iterdir()):
        raise DataError(f"{out}: is not empty; name a new folder, or remove this one, so that no two cohorts mix")
    if not 1 <= spacing_mm <= 4:
        raise StudyError(f"the phantom is drawn at 1 to 4 mm; {spacing_mm:g} mm was asked for")
    if patients is not None and patients < 1:
        raise StudyError(f"{patients} patients were asked for; a site needs at least one")
    everyone = draw_patients(scenario, patients, seed)
    cohort = Cohort(out, scenario, everyone)
    jobs = [(cohort.folder, scenario.site(patient.site), patient, spacing_mm, with_skull) for patient in everyone]
    try:
        for done, _ in enumerate(_run(jobs, workers), start=1):
            if on_patient is not None:
                on_patient(done, len(jobs))
        _write_tables(cohort, seed, spacing_mm, with_skull)
    except OSError as error:
        raise DataError(
            f"{out}: cannot write the cohort ({error.strerror}); free space or choose another folder"
        ) from None
    return cohort


def load_cohort(out: Path) -> dict[str, Any]:
    """Return the content of `cohort.json`. Raises DataError where `out` is no finished cohort."""
    try:
        content: dict[str, Any] = json.loads((out / "cohort.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise DataError(
            f"{out}: holds no finished phantom cohort (cohort.json); run gliofed-sim phantom again"
        ) from None
    return content


_Job = tuple[Path, "Hospital", "Patient", float, bool]


def _run(jobs: list[_Job], workers: int) -> Iterator[None]:
    if workers <= 1:
        yield from map(_write_patient, jobs)
        return
    with ProcessPoolExecutor(max_workers=workers) as pool:
        yield from pool.map(_write_patient, jobs)


def _write_patient(job: _Job) -> None:
    from simulations.phantom.layouts import write_site_case, write_truth_case
    from simulations.phantom.render import render

    folder, hospital, patient, spacing_mm, with_skull = job
    images = render(patient, hospital.scanner, spacing_mm=spacing_mm, with_skull=with_skull)
    write_site_case(folder / "sites" / hospital.name, hospital, patient, images, with_skull)
    write_truth_case(folder / "truth" / hospital.name / patient.case, hospital, patient, images)


def _write_tables(cohort: Cohort, seed: int, spacing_mm: float, with_skull: bool) -> None:
    """Write each site's table and, last, `cohort.json`, which marks the cohort as finished."""
    from simulations.phantom.layouts import write_bytes, write_participants

    for hospital in cohort.scenario.sites:
        own = [patient for patient in cohort.patients if patient.site == hospital.name]
        write_participants(cohort.sites / hospital.name, hospital, own)
    facts = {
        "schema_version": SCHEMA_VERSION,
        "synthetic": True,
        "scenario": cohort.scenario.model_dump(mode="json"),
        "seed": seed,
        "spacing_mm": spacing_mm,
        "with_skull": with_skull,
        "separation": cohort.scenario.separation,
        "ceiling": bbb_ceiling(cohort.scenario.separation),
        "patients": [_facts(patient) for patient in cohort.patients],
    }
    write_bytes(cohort.folder / "cohort.json", json.dumps(facts, indent=1, sort_keys=True).encode())


def _facts(patient: Patient) -> dict[str, Any]:
    return {
        "site": patient.site,
        "case": patient.case,
        "grade": patient.tumour.grade,
        "bbb": "disrupted" if patient.bbb_disrupted else "intact",
        "latent": patient.latent,
        "sequences": [sequence.value for sequence in patient.sequences],
        "radius_mm": patient.tumour.radius_mm,
    }
