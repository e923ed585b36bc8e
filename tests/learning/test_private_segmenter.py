"""A segmenter that is trained privately on forty phantoms learns to find tumours in forty others."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

from client.privacy.accountant import Steps, epsilon_of
from client.privacy.private_step import PrivateStep
from client.training.segmentation_step import build_step
from client.training.trainer import draw_batches, fit, rate_of
from client.training.workplace import Workplace
from common.nets.stage_models import build_model
from common.sequences import STRUCTURAL, Domain
from common.settings.stages import Stage
from common.study import parse_study

SITE = "hospital-a"
STUDY = f"""
name = "private"
sites = ["{SITE}"]
reference_site = "{SITE}"
[stages.generator]
[stages.segmenter]
rounds = 1
local_steps = 100
batch_size = 8
learning_rate = 3e-3
learning_rate_decay = "cosine"
fill_probability = 0.0
foreground_share = 0.8
mirror_axes = ["right"]
deep_supervision = false
[privacy]
stages = ["segmenter"]
sampling_rate = 0.3
noise_multiplier = 1.0
epsilon = 30
"""
EPSILON = 22.5
"""At delta 1e-5: one hospital of forty patients pays dearly for a hundred steps."""


class Nothing(nn.Module):
    """A generator that is never asked: no phantom here lacks a sequence."""

    domains = tuple(Domain(SITE, sequence) for sequence in STRUCTURAL)

    def translate(self, image: Tensor, target: Tensor) -> Tensor:
        raise AssertionError("nothing is missing")


@pytest.mark.slow
def test_a_private_segmenter_learns_from_forty_patients(hospital: SimpleNamespace) -> None:
    study, site = parse_study(STUDY), hospital.phantoms.sites[SITE]
    settings, privacy = study.stages.segmenter, study.privacy
    assert settings is not None
    model = build_model(Stage.SEGMENTER, study, (), torch.Generator().manual_seed(1)).train()
    place = Workplace(study, (), SITE, site.training, {Stage.GENERATOR: Nothing()}, torch.device("cpu"))
    step = PrivateStep(build_step(model, place), privacy, settings.batch_size)
    before = step.evaluate(site.held_out)
    fit(step, draw_batches(step, settings.local_steps, torch.Generator()), lambda *_: None, rate_of(settings, 1))
    model.eval()
    after = step.evaluate(site.held_out)
    spent = epsilon_of([Steps(settings.local_steps, privacy.sampling_rate, privacy.noise_multiplier)], privacy.delta)
    assert spent == pytest.approx(EPSILON, rel=0.02)
    assert after["loss"].value < before["loss"].value - 0.1
    assert after["dice_wt"].value > 0.3
