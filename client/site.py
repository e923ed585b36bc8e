"""One opened site: its cached cases under its policy, split by patient, and what it may say about itself."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median

from client.config import Hardware, Policy, SiteConfig
from client.consent.approvals import require_approval
from client.data.cache import CachedCase, LabelKind
from client.data.dataset import CaseStore
from client.data.splits import split_one_by_one, split_patients
from client.limits import require_disk
from client.privacy.policy import patients_behind_training
from client.privacy.withdrawal import withdrawn_patients
from client.training.row_budget import RowBudget
from common.approval.study_plan import StudyPlan
from common.errors import DataError
from common.logs import logger
from common.plan import SiteInventory
from common.records import Greys
from common.sequences import Sequence
from common.settings.stages import Stage
from common.study import Study

log = logger(__name__)


@dataclass(frozen=True)
class Site:
    """A hospital, ready to train.

    Attributes:
        name: the site's name in the study.
        workdir: its own folder for caches and states; scans live elsewhere and are never written to.
        policy: its last word.
        training, held_out: cases of the training and of the held-out patients, sequences below the minimum left out.
        inventory: counts of training patients.
        greys: medians of the grey constants per sequence, and the patients behind them.
        withdrawn: keys of the patients that were withdrawn; no store holds a case of theirs.
        hardware: how its machine computes.
        approved: the plan under which it takes part; None where a simulation approves everything.
        budgets: per stage, how many rows of a batch its memory holds; learnt while training.
    """

    name: str
    workdir: Path
    policy: Policy
    training: CaseStore
    held_out: CaseStore
    inventory: SiteInventory
    greys: Mapping[Sequence, Greys]
    withdrawn: frozenset[str] = frozenset()
    hardware: Hardware = field(default_factory=Hardware)
    approved: StudyPlan | None = None
    budgets: dict[Stage, RowBudget] = field(default_factory=dict, compare=False)

    @property
    def patients(self) -> frozenset[str]:
        """Keys of the patients that a round may train on, or is scored on."""
        return frozenset(self.training.patients()) | frozenset(self.held_out.patients())

    @property
    def cohort(self) -> str:
        """SHA-256 over the prepared cases: cache files are named by the digest of their input. It stays at the site."""
        names = sorted(case.path.name for case in (*self.training.cases, *self.held_out.cases))
        return hashlib.sha256("\n".join(names).encode()).hexdigest()


def open_site(config: SiteConfig, study: Study) -> Site:
    """Catalog the site's folder, prepare what is not prepared yet, and open it for `study`.

    Raises:
        PolicyError: where the site has not approved the study, or its disk may take no more.
        DataError: where no case of the folder can be used.
    """
    from client.data.catalog import scan_folder
    from client.data.preprocessing import PrepareSettings, prepare_cases

    require_approval(config.workdir, config.policy, study.digest)
    catalog = scan_folder(config.folder, config)
    outcome = prepare_cases(
        list(catalog.cases),
        PrepareSettings.of(study),
        config.workdir / "cache",
        on_case=lambda done, total: require_disk(config.workdir, config.policy),
    )
    for case, reason in sorted(outcome.failures.items()):
        log.warning("%s: left out, it could not be prepared: %s", case, reason)
    if not outcome.cases:
        raise DataError(
            f"{config.folder}: none of {len(catalog.cases)} cases could be prepared; run gliofed-client check"
        )
    return site_of(config.name, config.workdir, config.policy, outcome.cases, study, config.hardware)


def site_of(
    name: str,
    workdir: Path,
    policy: Policy,
    cases: Iterable[CachedCase],
    study: Study,
    hardware: Hardware | None = None,
) -> Site:
    """Open a site from cached cases: split by patient, then leave out sequences that too few patients hold.

    Withdrawn patients are split as if they were there, so that nobody changes sides because of them, then left out.
    """
    withdrawn = withdrawn_patients(workdir)
    allowed = tuple(sequence for sequence in study.sequences if policy.allows(sequence))
    known = [_restrict(case, allowed) for case in sorted(cases, key=lambda case: (case.patient, case.case))]
    divide = split_one_by_one if study.privacy.stages else split_patients
    split = divide({case.patient for case in known}, study.data.holdout_fraction, study.seed)
    gone = [case for case in known if case.patient in withdrawn and case.patient in split.training]
    training = [case for case in known if case.patient in split.training and case.patient not in withdrawn]
    minimum = patients_behind_training(policy, study)
    held = {sequence: _count(training, sequence) for sequence in allowed}
    kept = tuple(sequence for sequence, patients in held.items() if patients >= max(1, minimum))
    training = [_restrict(case, kept) for case in training]
    held_out = [
        _restrict(case, kept) for case in known if case.patient in split.held_out and case.patient not in withdrawn
    ]
    return Site(
        name=name,
        workdir=workdir,
        policy=policy,
        training=CaseStore(training, study.sequences, gone=[_restrict(case, kept) for case in gone]),
        held_out=CaseStore(held_out, study.sequences),
        inventory=_inventory(name, training, {sequence: held[sequence] for sequence in kept}),
        greys=_greys(training, kept),
        withdrawn=withdrawn,
        hardware=hardware or Hardware(),
    )


def _restrict(case: CachedCase, sequences: tuple[Sequence, ...]) -> CachedCase:
    return replace(case, sequences=tuple(sequence for sequence in case.sequences if sequence in sequences))


def _count(cases: list[CachedCase], sequence: Sequence) -> int:
    return len({case.patient for case in cases if sequence in case.sequences})


def _inventory(name: str, cases: list[CachedCase], held: dict[Sequence, int]) -> SiteInventory:
    """Count the training patients, all of them, those with tumour labels and those of known BBB status."""
    return SiteInventory(
        site=name,
        training_patients=len({case.patient for case in cases}),
        sequences=held,
        labelled_patients=len({case.patient for case in cases if case.label_kind is not LabelKind.NONE}),
        bbb_patients=len({case.patient for case in cases if case.bbb_disrupted is not None}),
    )


def _greys(cases: list[CachedCase], sequences: tuple[Sequence, ...]) -> dict[Sequence, Greys]:
    """Return the medians, over cases, of each constant that undoes a sequence's grey normalisation."""
    found: dict[Sequence, Greys] = {}
    for sequence in sequences:
        holding = [case for case in cases if sequence in case.sequences and case.greys.get(sequence.value)]
        if holding:
            scales = [case.greys[sequence.value] for case in holding]
            found[sequence] = Greys(
                patients=len({case.patient for case in holding}),
                constants={name: float(median(scale[name] for scale in scales)) for name in sorted(scales[0])},
            )
    return found
