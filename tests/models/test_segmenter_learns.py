"""The segmenter over-fits two phantom patients, in 2-D and in 3-D: every part of a step pulls one way."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from client.config import load_site
from client.data.dataset import CaseStore
from client.inference.segment import labels_of, segment_volume
from client.site import open_site
from client.training.segmentation_step import build_step
from client.training.trainer import draw_batches, fit, rate_of
from client.training.workplace import Workplace
from common.metrics.overlap import dice
from common.nets.stage_models import build_model
from common.sequences import STRUCTURAL
from common.settings.stages import Stage
from common.study import Study, parse_study
from simulations.consortium import write_site_files
from simulations.phantom.cohort import write_cohort
from simulations.scenario import Losses, load_scenario

SITE = "hospital-a"
STUDY = f"""
name = "two-patients"
sites = ["{SITE}"]
reference_site = "{SITE}"
data.holdout_fraction = 0.0
[stages.generator]
[stages.segmenter]
learning_rate = 1e-2
learning_rate_decay = "cosine"
rounds = 1
fill_probability = 0.0
foreground_share = 0.8
mirror_axes = []
"""
SETTINGS = {
    2: "local_steps = 250\nbatch_size = 8",
    3: "local_steps = 280\nbatch_size = 2\ndimensions = 3\npatch = [48, 48, 16]",
}
LOSS, DICE = 0.25, 0.78
"""Reached with a margin: the training loss falls from 0.9 to about 0.17, whole tumours are found at 0.83 to 0.91."""


@pytest.fixture(scope="module")
def two_patients(tmp_path_factory: pytest.TempPathFactory) -> CaseStore:
    """Two complete patients of the phantom with full labels, prepared on the tiny grid."""
    folder: Path = tmp_path_factory.mktemp("two")
    scenario = load_scenario("three-hospitals")
    hospital = next(one for one in scenario.sites if one.name == SITE)
    complete = hospital.model_copy(update={"losses": Losses(patterns=(STRUCTURAL,)), "patients": 2})
    cohort = write_cohort(folder / "phantom", scenario.model_copy(update={"sites": (complete,)}), None, 1, 4.0)
    study = parse_study(STUDY)
    files = write_site_files(study, cohort.sites, folder / "sites")
    return open_site(load_site(files[SITE]), study).training


@pytest.mark.slow
@pytest.mark.parametrize("dimensions", [2, 3])
def test_two_patients_are_learnt_by_heart(two_patients: CaseStore, generator_model: nn.Module, dimensions: int) -> None:
    study: Study = parse_study(STUDY + SETTINGS[dimensions])
    settings = study.stages.segmenter
    assert settings is not None and len(two_patients.patients()) == 2
    model = build_model(Stage.SEGMENTER, study, (), torch.Generator().manual_seed(1))
    frozen = {Stage.GENERATOR: generator_model}
    step = build_step(model, Workplace(study, (), SITE, two_patients, frozen, torch.device("cpu")))
    losses: list[float] = []
    batches = draw_batches(step, settings.local_steps, torch.Generator().manual_seed(2))
    fit(step, batches, lambda number, found: losses.append(found["loss"]), rate_of(settings, 1))
    model.eval()
    assert np.mean(losses[:10]) > 3 * LOSS and np.mean(losses[-20:]) < LOSS
    assert step.evaluate(two_patients)["loss"].value < LOSS
    for case in two_patients.cases:
        found = labels_of(segment_volume(model, np.stack([case.slices(sequence) for sequence in STRUCTURAL])))
        assert dice(found > 0, case.labels() > 0) > DICE
