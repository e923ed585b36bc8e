"""The patients on whom the identifier is validated: training patients that it, segmenter and synthesiser do not see.

They are no held-out patients: the generator has trained on them, and without a cross-fit fills what they lack a little
too well. What is fitted on them may therefore be a little too sure of itself, and is judged on held-out patients like
everything else.
"""

from __future__ import annotations

from collections.abc import Collection

from client.data.cache import CachedCase
from client.data.dataset import CaseStore
from client.data.splits import split_patients
from client.training.filled_inputs import enhancing_label, has_condition
from common.seeding import derive_seed
from common.study import Study


def has_known_status(case: CachedCase) -> bool:
    """Whether a case has T1 and FLAIR, real or filled without gadolinium, and a known BBB status."""
    return has_condition(case) and enhancing_label(case) is not None


def validation_patients(store: CaseStore, study: Study) -> frozenset[str]:
    """Return the validation patients of a site's training cases.

    The study's share is taken of either status, by a hash of the patient key, so that both are there where the site has
    two of each; a single patient of a status is trained on. Nobody is kept where those of a status would be too few for
    their counts to leave the site, as the study asks; a stricter site sends nothing of them. To leave out the rare
    status alone would make the other one look as frequent as it is not. Withdrawn patients are dealt too, so that
    nobody who was trained on becomes a validation patient because they went.
    """
    settings = study.stages.identifier
    if settings is None or settings.validation_fraction == 0:
        return frozenset()
    first = {patient: store.cases[indices[0]] for patient, indices in store.patients(has_known_status).items()}
    first |= {case.patient: case for case in store.gone if has_known_status(case)}
    by_status: dict[int | None, list[str]] = {}
    for patient, case in sorted(first.items()):
        by_status.setdefault(enhancing_label(case), []).append(patient)
    seed = derive_seed(study.seed, "validation")
    splits = [split_patients(patients, settings.validation_fraction, seed) for patients in by_status.values()]
    if any(0 < len(split.held_out) < study.reporting.minimum_count for split in splits):
        return frozenset()
    return frozenset(patient for split in splits for patient in split.held_out)


def training_part(store: CaseStore, study: Study) -> CaseStore:
    """Return the cases that the identifier, and what draws and segments for it, train on: all without validation."""
    kept = validation_patients(store, study)
    return _only(store, {case.patient for case in store.cases} - kept) if kept else store


def validation_part(store: CaseStore, study: Study) -> CaseStore:
    """Return the cases of the validation patients."""
    return _only(store, validation_patients(store, study))


def _only(store: CaseStore, patients: Collection[str]) -> CaseStore:
    cases = [case for case in store.cases if case.patient in patients]
    return CaseStore(cases, store.sequences, tumour_share=store.tumour_share)
