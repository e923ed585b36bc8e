"""What a site remembers of its assessments: the frozen cohort of a study, and every answer that it gave.

Two cohorts that differ by a patient could be subtracted from one another. So the cohort of a study is frozen when it is
first assessed: patients who come later stay out, and once one of its patients is gone or is used otherwise the site
answers no further release of that study. The same weights are assessed once: asked again, the site repeats what it
said, and adds to it what could not be measured before.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from client.data.dataset import CaseStore
from client.site import Site
from common.assessment.findings import Findings
from common.errors import DataError, PolicyError
from common.files import write_whole
from common.settings.frozen import Frozen

MOST_RELEASES = 16
"""Different weights that a site assesses under one study: many slightly different ones could single patients out."""

COHORT = "cohort.json"


class CohortChangedError(PolicyError):
    """A patient of the frozen cohort is gone, or no longer on the same side of the split."""

    code = "cohort-changed"


class AssessedAlreadyError(PolicyError):
    """These weights were assessed under another study, so before another cohort."""

    code = "assessed-already"


class TooManyReleasesError(PolicyError):
    """The study has had as many releases assessed as one cohort may be asked of."""

    code = "too-many-releases"


class Cohort(Frozen):
    """The patient keys of a study's assessments; they never leave the site."""

    training: tuple[str, ...]
    held_out: tuple[str, ...]


@dataclass(frozen=True)
class Register:
    """The folder `<workdir>/assessment`, with one folder a study in it, named by its digest."""

    folder: Path
    study_digest: str

    @classmethod
    def of(cls, site: Site, study_digest: str) -> Register:
        """Return the site's register for one study."""
        return cls(site.workdir / "assessment", study_digest)

    def answer(self, weights: str) -> Findings | None:
        """Return what was answered about these weights; None where nobody asked. Raises DataError where damaged."""
        path = self._study / f"{weights}.json"
        if not path.is_file():
            return None
        try:
            return Findings.model_validate_json(path.read_bytes())
        except (OSError, ValidationError):
            raise DataError(f"{path}: damaged; what was answered cannot be told, so nothing more is") from None

    def keep(self, findings: Findings) -> None:
        """Write an answer down; it may leave once it stands here."""
        write_whole(self._study / f"{findings.weights}.json", findings.model_dump_json().encode())

    def admit(self, site: Site, weights: str) -> Cohort:
        """Return the cohort before which weights are assessed, frozen now where there is none yet.

        Raises:
            CohortChangedError, AssessedAlreadyError, TooManyReleasesError: as they say.
            DataError: where the record of the cohort is damaged.
        """
        answer = f"{weights}.json"
        if any(path.parent != self._study for path in self.folder.glob(f"*/{answer}")):
            raise AssessedAlreadyError("the coordinator asks about weights that were assessed under another study")
        answered = [path for path in self._study.glob("*.json") if path.name not in (COHORT, answer)]
        if len(answered) >= MOST_RELEASES:
            raise TooManyReleasesError(f"{MOST_RELEASES} releases of this study were assessed; no further one is")
        now = Cohort(training=_patients(site.training), held_out=_patients(site.held_out))
        frozen = self._frozen()
        if frozen is None:
            write_whole(self._study / COHORT, now.model_dump_json(indent=1).encode())
            return now
        lost = len(set(frozen.training) - set(now.training)) + len(set(frozen.held_out) - set(now.held_out))
        if lost:
            raise CohortChangedError(
                f"{lost} patients of the frozen cohort are gone or split otherwise; "
                "this site assesses no further release of the study"
            )
        return frozen

    @property
    def _study(self) -> Path:
        return self.folder / self.study_digest

    def _frozen(self) -> Cohort | None:
        path = self._study / COHORT
        if not path.is_file():
            return None
        try:
            return Cohort.model_validate_json(path.read_bytes())
        except (OSError, ValidationError):
            raise DataError(f"{path}: damaged; without the frozen cohort no release is assessed") from None


def only(store: CaseStore, patients: tuple[str, ...]) -> CaseStore:
    """Return the cases of these patients."""
    wanted = set(patients)
    cases = [case for case in store.cases if case.patient in wanted]
    return CaseStore(cases, store.sequences, tumour_share=store.tumour_share)


def _patients(store: CaseStore) -> tuple[str, ...]:
    return tuple(sorted({case.patient for case in store.cases}))
