"""The two halves of a site's training patients, on which the generators of a cross-fit are trained.

By patient, and the same on every run over the same patients: the split is a function of the keys, of the study's seed
and of what each patient holds, since a sequence that a few patients hold should be learnt by both halves.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from client.data.dataset import CaseStore
from common.seeding import derive_seed
from common.sequences import Sequence


def split_in_two(holdings: Mapping[str, Collection[Sequence]], seed: int) -> dict[str, int]:
    """Return each patient's fold, 0 or 1.

    Sequence after sequence, the rarest first, its patients are dealt out in an order hashed with `seed`, each to the
    fold in which fewer patients hold that sequence.

    Args:
        holdings: patient key → sequences that some case of the patient holds.
    """
    order = sorted(holdings, key=lambda patient: (derive_seed(seed, "fold", patient), patient))
    counts = {sequence: sum(sequence in held for held in holdings.values()) for sequence in Sequence}
    folds: dict[str, int] = {}
    for sequence in sorted(counts, key=lambda sequence: (counts[sequence], sequence)):
        holding = [patient for patient in order if sequence in holdings[patient]]
        for patient in holding:
            if patient not in folds:
                placed = [folds[other] for other in holding if other in folds]
                folds[patient] = int(placed.count(0) > placed.count(1))
    return {patient: folds.get(patient, 0) for patient in sorted(holdings)}


def folds_of(store: CaseStore, seed: int) -> dict[str, int]:
    """Return the fold of each patient of a site's training cases, withdrawn ones included: nobody changes sides."""
    holdings: dict[str, set[Sequence]] = {}
    for case in (*store.cases, *store.gone):
        holdings.setdefault(case.patient, set()).update(case.sequences)
    return split_in_two(holdings, seed)


def fold_store(store: CaseStore, fold: int, seed: int) -> CaseStore:
    """Return the training cases of one fold's patients: what that fold's generator is trained on."""
    folds = folds_of(store, seed)
    cases = [case for case in store.cases if folds[case.patient] == fold]
    return CaseStore(cases, store.sequences, tumour_share=store.tumour_share)
