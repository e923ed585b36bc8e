"""The phantoms' truth: every sequence, full labels and the hidden latent; read here alone, after training."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from client.data.cache import CachedCase, LabelKind
from client.data.catalog import CatalogCase
from client.data.preprocessing import PrepareSettings, prepare_cases
from common.errors import DataError
from common.sequences import QUANTITATIVE, STRUCTURAL, Sequence
from simulations.phantom.cohort import load_cohort

DISRUPTED = "disrupted"
DRAWN = {*STRUCTURAL, *QUANTITATIVE}


@dataclass(frozen=True)
class Truth:
    """What is known of a phantom cohort.

    Attributes:
        folder: the cohort's `truth/`.
        ceiling: the best AUC that any method without gadolinium can reach.
        patients: what `cohort.json` says, by site and case.
    """

    folder: Path
    ceiling: float
    patients: Mapping[tuple[str, str], Mapping[str, Any]]

    def latent(self, site: str, case: str) -> float:
        """Return the scalar in which the barrier's status hides."""
        return float(self.patients[site, case]["latent"])

    def prepare(
        self,
        site: str,
        cases: Iterable[str],
        settings: PrepareSettings,
        cache: Path,
        workers: int,
        sequences: Iterable[Sequence] = (),
    ) -> tuple[dict[str, CachedCase], list[str]]:
        """Prepare the true images of `cases`, all structural ones and `sequences`, as their hospital prepares its own.

        Returns:
            The prepared cases by name, and what could not be prepared as `site: case: reason`.
        """
        drawn = tuple(dict.fromkeys((*STRUCTURAL, *sequences)))
        wanted = [self._catalog_case(site, case, drawn) for case in cases]
        outcome = prepare_cases(wanted, settings, cache / site, workers=workers)
        problems = [f"{site}: {case}: truth not prepared: {why}" for case, why in sorted(outcome.failures.items())]
        return {case.case: case for case in outcome.cases}, problems

    def _catalog_case(self, site: str, case: str, sequences: tuple[Sequence, ...]) -> CatalogCase:
        folder = self.folder / site / case
        images = {sequence: folder / f"{sequence}.nii.gz" for sequence in sequences if sequence in DRAWN}
        return CatalogCase(
            case=case,
            patient=case,
            images=images,
            brain_mask=folder / "brain.nii.gz",
            labels=folder / "labels.nii.gz",
            label_kind=LabelKind.FULL,
            bbb_disrupted=self.patients[site, case]["bbb"] == DISRUPTED,
            layout="truth",
        )


def read_truth(cohort: Path) -> Truth:
    """Return the truth of a finished phantom cohort. Raises DataError where there is none."""
    facts = load_cohort(cohort)
    try:
        patients = {(entry["site"], entry["case"]): entry for entry in facts["patients"]}
        return Truth(cohort / "truth", float(facts["ceiling"]), patients)
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{cohort}: cohort.json lacks {error}; draw the phantoms again in another folder") from None
