"""The phantom consortium of one seed on which every arm of an ablation trains, and the patients it is measured on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from client.data.preprocessing import PrepareSettings
from client.site import Site
from common.errors import DataError
from common.plan import Plan
from common.study import Study
from simulations.cohort import draw_phantoms
from simulations.comparison.subject import Subject
from simulations.comparison.truth import Truth
from simulations.consortium import open_consortium, prepare_sites, write_site_files
from simulations.evaluated import find_subjects
from simulations.scenario import Scenario, load_scenario

Advance = Callable[[int, int], None]


@dataclass(frozen=True)
class Phantoms:
    """One seed's hospitals.

    Attributes:
        sites: opened for the study, training and held-out patients apart.
        subjects: the held-out patients with their truth.
        truth: of the whole cohort.
        plan: the study's, as a coordinator would freeze it.
    """

    sites: Mapping[str, Site]
    subjects: tuple[Subject, ...]
    truth: Truth
    plan: Plan


def open_phantoms(
    study: Study, scenario: Scenario, folder: Path, seed: int, workers: int, advance: Advance
) -> Phantoms:
    """Draw and prepare a cohort in `folder`, or find it there, and open its hospitals.

    Args:
        study: its grid, sites and holdout; its seed splits the patients.
        scenario: the hospitals.
        folder: where phantoms, caches and the arms' states lie.
        seed: of the phantoms.
        workers: processes that draw and prepare.
        advance: hears (steps done, steps in all).
    Raises:
        DataError: where a phantom could not be prepared; an ablation on fewer would be another one.
    """
    truth = draw_phantoms(folder / "phantom", scenario, seed, workers, advance)
    files = write_site_files(study, folder / "phantom" / "sites", folder / "sites")
    failures = prepare_sites(files, study, workers, advance)
    consortium = open_consortium(files, study)
    prepare = PrepareSettings.of(study)
    subjects = find_subjects(consortium, truth, study.sequences, prepare, folder / "truth-cache", workers, failures)
    if failures:
        raise DataError("\n".join(failures))
    inventory = tuple(consortium.sites[name].inventory for name in sorted(consortium.sites))
    plan = Plan(study_digest=study.digest, inventory=inventory)
    return Phantoms(consortium.sites, tuple(subjects), truth, plan)


def scenario_of(name: str, patients: int) -> Scenario:
    """Return a scenario that ships with GlioFed, with `patients` phantoms a site."""
    whole = load_scenario(name)
    sites = tuple(site.model_copy(update={"patients": patients}) for site in whole.sites)
    return whole.model_copy(update={"sites": sites})
