"""The generators of a cross-fit as they filled the training patients: each patient's is the one that never saw it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from collections.abc import Sequence as Items
from pathlib import Path

from safetensors.torch import load_file

from client.inference.device import choose_device
from client.training.folds import split_in_two
from client.training.pens import trained_domains
from common.nets.stage_models import build_model
from common.nets.ummgat import Ummgat
from common.release import Release
from common.seeding import torch_generator
from common.sequences import Sequence
from common.settings.stages import FOLDS, Stage
from server.journal.copies import last_average
from simulations.comparison.subject import Pencil, Subject

PencilOf = Callable[[Subject], Pencil]


def open_cross_fit(run: Path, release: Release, training: Mapping[str, Items[Subject]]) -> PencilOf | None:
    """Return the choice of a generator for each training patient; None where no fold was asked for, or one not trained.

    Args:
        run: the run's folder, where the fold generators stay: a release does not hold them.
        release: what the run released.
        training: per site all its training patients.
    """
    study = release.study
    if any(study.stages.of(fold) is None for fold in FOLDS):
        return None
    pencils = [_open_fold(run, release, fold) for fold in FOLDS]
    if not all(pencil.domains for pencil in pencils):
        return None
    folds = {site: split_in_two(_holdings(subjects), study.seed) for site, subjects in training.items()}
    return lambda subject: pencils[1 - folds[subject.site][subject.own.patient]]


def _open_fold(run: Path, release: Release, fold: Stage) -> Pencil:
    study, domains = release.study, release.domains
    model = build_model(fold, study, domains, torch_generator(study.seed, "initial", fold.value))
    assert isinstance(model, Ummgat), "a fold is a generator"  # noqa: S101
    model.load_state_dict(load_file(last_average(run, fold)))
    drawable = trained_domains(fold, model, study, domains)
    return Pencil(model.to(choose_device()).eval().requires_grad_(False), drawable, study.reference_site)


def _holdings(subjects: Items[Subject]) -> dict[str, set[Sequence]]:
    holdings: dict[str, set[Sequence]] = {}
    for subject in subjects:
        holdings.setdefault(subject.own.patient, set()).update(subject.own.sequences)
    return holdings
