"""The loss of each patient under a released model, by which a membership attack tells who was trained on."""

from __future__ import annotations

import copy
from collections.abc import Callable
from statistics import mean
from typing import cast

import torch
from torch.nn import functional as F

from client.assessment.examination import Examination
from client.assessment.register import only
from client.assessment.released_drawings import draw_patients
from client.data.dataset import CaseStore
from client.precision import half_precision
from client.training.fixed_slices import fixed_slices
from client.training.tasks import step_builder
from client.training.trainer import NothingToTrainError, TrainingStep
from client.training.validation import training_part
from common.nets.ummgat import Ummgat
from common.settings.stages import Stage

Losses = dict[str, float]
"""By patient key; they never leave the site."""

SCORES = {Stage.SYNTHESISER: "synthesis", Stage.SEGMENTER: "loss", Stage.IDENTIFIER: "loss"}
"""Which of a step's scores is the loss that it trained."""


def members_of(exam: Examination, stage: Stage) -> CaseStore:
    """Return the cases on which the site trained `stage`."""
    whole = stage in (Stage.GENERATOR, Stage.MAPS)
    return exam.training if whole else training_part(exam.training, exam.study)


def losses_of(exam: Examination, stage: Stage, loss: str) -> Callable[[CaseStore], Losses]:
    """Return what takes the losses of a store's patients for an attack of `common.assessment.membership.ATTACKS`.

    A patient without what the attack needs is left out.
    """
    match loss:
        case "drawn":
            return lambda store: _errors(exam, stage, store)
        case "identity" | "judged":
            return lambda store: _on_own_images(exam, store, judged=loss == "judged")
        case "loss":
            return _trained_loss(exam, stage)
        case _:
            raise ValueError(f"no attack takes {loss!r} for a loss")


def _errors(exam: Examination, stage: Stage, store: CaseStore) -> Losses:
    """Return the mean error of each patient's drawings."""
    errors: dict[str, list[float]] = {}
    for drawing in draw_patients(exam, stage, store):
        errors.setdefault(drawing.patient, []).append(drawing.error)
    return {patient: mean(values) for patient, values in errors.items()}


def _trained_loss(exam: Examination, stage: Stage) -> Callable[[CaseStore], Losses]:
    """Return what evaluates the stage's own loss, patient by patient, on the step's fixed slices and noise."""
    model = copy.deepcopy(exam.models[stage]).requires_grad_(True)  # a step opens optimisers
    try:
        step: TrainingStep = step_builder(stage)(model, exam.place(exam.training))
    except NothingToTrainError:
        return lambda store: {}
    model.eval()

    def losses(store: CaseStore) -> Losses:
        scores = {patient: step.evaluate(only(store, (patient,))) for patient in sorted(store.patients())}
        name = SCORES[stage]
        return {patient: found[name].value for patient, found in scores.items() if name in found}

    return losses


@torch.no_grad()
def _on_own_images(exam: Examination, store: CaseStore, judged: bool) -> Losses:
    """Return, over each patient's real sequences, the error of redrawing them as what they are, or the doubt of them.

    The doubt is softplus(-logit) of the released discriminator, which saw nothing real but the images of members.
    """
    model = cast(Ummgat, exam.models[Stage.GENERATOR])
    own = {domain.sequence: number for number, domain in enumerate(model.domains)
           if domain.site == exam.site and not domain.lesion}  # fmt: skip
    found: Losses = {}
    for patient in sorted(store.patients()):
        alone = only(store, (patient,))
        slices = fixed_slices(alone, lambda case: bool(set(own).intersection(case.sequences)))
        held = [] if slices is None else [name for name in own if bool(slices.present[name][0])]
        if slices is None or not held:
            continue
        images = torch.cat([slices.images[sequence] for sequence in held]).to(exam.device)
        numbers = torch.tensor([own[sequence] for sequence in held], device=exam.device)
        with half_precision(exam.device):
            if judged:
                found[patient] = float(F.softplus(-model.discriminator(images, numbers).float()).mean())
            else:
                gap = (model.translate(images, numbers).float() - images).abs().cpu()
                found[patient] = float(gap[slices.brain.expand_as(gap)].mean())
    return found
