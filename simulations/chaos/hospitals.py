"""Three very small phantom hospitals and the study that they run under faults: the real apps, the real networks."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from common.study import Study, parse_study
from simulations.consortium import prepare_sites, write_site_files
from simulations.phantom.cohort import write_cohort
from simulations.scenario import load_scenario

SITES = ("hospital-a", "hospital-b", "hospital-c")
SPACING_MM = 4.0
PATIENTS = 2
SEED = 11


@dataclass(frozen=True)
class Hospitals:
    """Prepared hospitals: scans that are never written to; each deployment gets its own `site.toml` and states.

    Attributes:
        scans: folder of the hospitals' folders.
    """

    scans: Path

    def files(self, study: Study, workdirs: Path) -> dict[str, Path]:
        """Write a `site.toml` for each hospital, with its state and cache below `workdirs`, and prepare its cases."""
        files = write_site_files(study, self.scans, workdirs)
        prepare_sites(files, study, 1, lambda done, total: None)
        return files


def draw_hospitals(folder: Path) -> Hospitals:
    """Draw the phantoms below `folder`."""
    cohort = write_cohort(folder, load_scenario("three-hospitals"), PATIENTS, SEED, SPACING_MM)
    return Hospitals(cohort.sites)


def small_study(rounds: int, local_steps: int = 2, quorum: int = 3, deadline_s: float = 1200.0) -> Study:
    """Return the study: the real generator at `tiny`, on a coarse grid, for a few steps a round."""
    return parse_study(
        f"""
name = "small"
sites = ["hospital-a", "hospital-b", "hospital-c"]
reference_site = "hospital-a"
[grid]
spacing_mm = [4.0, 4.0, 8.0]
shape = [48, 48]
[data]
holdout_fraction = 0.0
[federation]
quorum = {quorum}
deadline_s = {deadline_s}
[stages.generator]
rounds = {rounds}
local_steps = {local_steps}
batch_size = 2
[reporting]
minimum_count = 1
"""
    )
