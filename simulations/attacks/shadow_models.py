"""Shadow models of the maps' stage: one and the same training on another half of a hospital's patients each."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray

from client.assessment.register import only
from client.site import Site
from client.training.paired_step import build_step
from client.training.tasks import step_builder
from client.training.trainer import TrainingStep, draw_batches, fit
from client.training.workplace import Workplace
from common.nets.stage_models import build_model
from common.seeding import numpy_generator, torch_generator
from common.settings.stages import Stage
from common.study import Study
from simulations.attacks.likelihood_ratio import Shadows

Advance = Callable[[int, int], None]


def halves(patients: int, models: int, seed: int) -> NDArray[np.bool_]:
    """Return whom each model is trained on, (models, patients): every second model on whom the one before it was not.

    So every patient is in exactly half of an even number of models.
    """
    generator, inside = numpy_generator(seed, "shadows"), np.zeros((models, patients), dtype=bool)
    for model in range(0, models, 2):
        inside[model, generator.permutation(patients)[: patients // 2]] = True
        inside[model + 1 : model + 2] = ~inside[model]
    return inside


def train_shadows(
    site: Site, study: Study, models: int, after: tuple[int, ...], advance: Advance
) -> dict[int, Shadows]:
    """Train shadow models of the maps' stage and return every patient's loss `after` these numbers of steps.

    Args:
        site: its training patients take part, those with the target and inputs.
        study: the maps' settings and the seed; its rounds are not played.
        models: even, at least 6, each trained on half of the patients.
        after: steps, rising.
        advance: hears (models done, models in all).
    """
    place = Workplace(study, (), site.name, site.training, {}, torch.device("cpu"))
    patients = sorted(site.training.patients(build_step(_fresh(study, 0), place).teaches))
    inside = halves(len(patients), models, study.seed)
    losses = {steps: np.empty(inside.shape) for steps in after}
    for number in range(models):
        chosen = tuple(patient for patient, there in zip(patients, inside[number], strict=True) if there)
        own = Workplace(study, (), site.name, only(site.training, chosen), {}, torch.device("cpu"))
        step, done = step_builder(Stage.MAPS)(_fresh(study, number), own), 0
        for steps in after:
            generator = torch_generator(study.seed, "shadow", number, steps)
            fit(step, draw_batches(step, steps - done, generator), lambda number, losses: None)
            losses[steps][number], done = [_loss(step, site, patient) for patient in patients], steps
        advance(number + 1, models)
    return {steps: Shadows(losses[steps], inside) for steps in after}


def _fresh(study: Study, number: int) -> torch.nn.Module:
    return build_model(Stage.MAPS, study, (), torch_generator(study.seed, "shadow", number))


def _loss(step: TrainingStep, site: Site, patient: str) -> float:
    """Return the error of a patient's map in grey levels, never quite zero."""
    step.model.eval()
    found = step.evaluate(only(site.training, (patient,)))["mae"].value
    step.model.train()
    return max(found, 1e-6)
