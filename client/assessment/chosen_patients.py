"""The patients on whom attacks are played where a site has very many: the same on every run, chosen by a hash."""

from __future__ import annotations

from client.assessment.examination import Examination
from client.assessment.register import only
from client.data.dataset import CaseStore
from common.seeding import derive_seed


def chosen(exam: Examination, store: CaseStore) -> CaseStore:
    """Return the cases of at most `attacks.most_patients` patients of the store."""
    seed, most = exam.study.seed, exam.study.attacks.most_patients
    ranked = sorted(store.patients(), key=lambda patient: (derive_seed(seed, "attacks", patient), patient))
    return only(store, tuple(ranked[:most]))
