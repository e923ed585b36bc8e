"""Five hospitals of phantoms with complete sequences and full labels, small enough to train the real segmenter on."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from client.config import load_site
from client.site import open_site
from common.sequences import STRUCTURAL
from common.study import Study, parse_study
from simulations.consortium import prepare_sites, write_site_files
from simulations.phantom.cohort import write_cohort
from simulations.scenario import Layout, Losses, load_scenario

SITES = ("hospital-a", "hospital-b", "hospital-c", "hospital-d", "hospital-e")
PATIENTS = 8
STUDY = """
name = "byzantine"
sites = {sites}
reference_site = "hospital-a"
grid.spacing_mm = [4.8, 4.8, 6.0]
grid.shape = [32, 48]
data.holdout_fraction = 0.25
reporting.minimum_count = 1
[aggregation]
rule = "{rule}"
[stages.generator]
rounds = 1
local_steps = 1
batch_size = 2
[stages.segmenter]
rounds = {rounds}
local_steps = {steps}
batch_size = 8
learning_rate = 1e-2
learning_rate_decay = "cosine"
fill_probability = 0.0
foreground_share = 0.5
mirror_axes = []
ema_decay = 0.8
"""


def study_of(rule: str, rounds: int = 8, steps: int = 20) -> Study:
    """The study under a rule; everything else is the same."""
    return parse_study(STUDY.format(sites=list(SITES), rule=rule, rounds=rounds, steps=steps).replace("'", '"'))


@pytest.fixture(scope="session")
def hospitals(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """`.files`, each site's site.toml by name, and `.held_out`, each site's patients that nobody trains on."""
    folder: Path = tmp_path_factory.mktemp("byzantine")
    scenario = load_scenario("three-hospitals")
    scanners = [scenario.sites[number % 2] for number in range(len(SITES))]
    complete = {
        "losses": Losses(patterns=(STRUCTURAL,)),
        "patients": PATIENTS,
        "layout": Layout("brats2021"),
        "labels": "full",
    }
    sites = tuple(one.model_copy(update=complete | {"name": name}) for one, name in zip(scanners, SITES, strict=True))
    cohort = write_cohort(folder / "phantom", scenario.model_copy(update={"sites": sites}), None, 7, 4.0)
    study = study_of("mean")
    files = write_site_files(study, cohort.sites, folder / "sites")
    assert prepare_sites(files, study, 1, lambda *_: None) == []
    held_out = {name: open_site(load_site(path), study).held_out for name, path in files.items()}
    return SimpleNamespace(files=files, held_out=held_out, folder=folder)
