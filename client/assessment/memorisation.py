"""Copies at the site: whether a drawing of a held-out patient lies at one that the model was trained on."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from client.assessment.chosen_patients import chosen
from client.assessment.examination import Examination, Observed
from client.assessment.patient_losses import members_of
from client.assessment.released_drawings import Drawing, draw_patients
from client.data.dataset import CaseStore
from client.training.game.batch import holding
from common.assessment.memorisation import attacked, copies_name
from common.attacks.nearness import COPIED, FEWEST_TRAINED, Distances, copy_ratio, masked_distances
from common.sequences import Sequence

SIGHT = (32, 40)
"""In-plane size at which pictures are compared: enough to tell patients apart, too coarse for noise to matter."""

LEFT_RIGHT = 1


def assess(exam: Examination) -> Observed:
    """Return, per held-out patient and drawing stage, whether a drawing is a copy, and how near the nearest lies.

    Where copies are fewer than the minimum count, but some, as many patients as that are called copied, the nearest.
    """
    values: dict[str, dict[str, tuple[float, ...]]] = {}
    for stage in attacked(exam.study):
        if len(exam.held_out.patients()) >= exam.minimum:
            drawings = draw_patients(exam, stage, chosen(exam, exam.held_out))
            ratios = nearest_ratios(drawings, members_of(exam, stage), exam.minimum)
            copied = called_copied(ratios, exam.minimum)
            values[copies_name(stage)] = {
                patient: (float(patient in copied), ratio) for patient, ratio in ratios.items()
            }
    return Observed(values=values)


def nearest_ratios(drawings: Iterable[Drawing], trained: CaseStore, minimum: int) -> dict[str, float]:
    """Return by patient how near the nearest of its drawings lies to one trained patient (`copy_ratio`).

    A sequence that fewer than `minimum` patients were trained on is left out.
    """
    found: dict[str, float] = {}
    by_sequence: dict[Sequence, list[Drawing]] = {}
    for drawing in drawings:
        by_sequence.setdefault(drawing.sequence, []).append(drawing)
    for sequence, drawn in by_sequence.items():
        if len(trained.patients(holding(sequence))) < max(minimum, FEWEST_TRAINED):
            continue
        masks = torch.stack([each.brain for each in drawn]).float()
        ours = _distances(torch.stack([each.drawn for each in drawn]), masks, trained, sequence)
        theirs = _distances(torch.stack([each.real for each in drawn]), masks, trained, sequence)
        for each, ratio in zip(drawn, copy_ratio(ours, theirs).tolist(), strict=True):
            found[each.patient] = min(ratio, found.get(each.patient, ratio))
    return found


def called_copied(ratios: dict[str, float], minimum: int) -> frozenset[str]:
    """Return the patients whose drawings are copies, none or at least `minimum` of them, all where there are fewer."""
    nearest = sorted(ratios, key=lambda patient: (ratios[patient], patient))
    copied = sum(ratio < COPIED for ratio in ratios.values())
    many = max(copied, minimum) if copied else 0
    return frozenset(nearest if len(nearest) - many < minimum and many else nearest[:many])


def _distances(pictures: Tensor, masks: Tensor, trained: CaseStore, sequence: Sequence) -> Distances:
    """Return each picture's distance to each trained patient, (Q, P), to the nearest slice, mirrored or not."""
    shown, inside = _reduced(pictures), _inside(_reduced(masks))
    columns = []
    for indices in trained.patients(holding(sequence)).values():
        slices = np.concatenate([trained.cases[i].slices(sequence)[trained.usable[i]] for i in indices])
        seen = torch.from_numpy(slices)
        seen = _reduced(torch.cat([seen, seen.flip(LEFT_RIGHT)]))
        columns.append(masked_distances(shown.numpy(), inside.numpy(), seen.numpy()).min(axis=1))
    return np.stack(columns, axis=1)


def _reduced(pictures: Tensor) -> Tensor:
    """Return pictures (N, H, W) at the size of comparison, (N, F)."""
    return F.adaptive_avg_pool2d(pictures[:, None], SIGHT).flatten(1)


def _inside(share: Tensor) -> Tensor:
    """Return the weight of each reduced pixel, (N, F): of those alone that lie wholly in the brain, if any do."""
    whole = (share > 0.999).float()
    return torch.where(whole.any(1, keepdim=True), whole, share)
