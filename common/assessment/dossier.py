"""`assessment.json`: what all sites together say of a release, and which of them said nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, StringConstraints, ValidationError

from common.assessment.attack_figures import AttackRow, MembershipFigures, MemorisationFigures
from common.errors import ReleaseError
from common.sequences import Sequence
from common.settings.frozen import Frozen

DOSSIER = "assessment.json"
MAX_DOSSIER_BYTES = 16 * 1024 * 1024

WITHDRAWN = "withdrawn"
"""Code of a site that was withdrawn as a whole before the assessment, and was not asked."""

Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Count = Annotated[int, Field(ge=0)]


class SiteStatus(Frozen):
    """What one site answered: `ok` or why not, names that it withheld for want of patients, assessors that failed."""

    code: str
    withheld: tuple[str, ...] = ()
    failed: dict[str, str] = Field(default_factory=dict)


class Figure(Frozen):
    """Mean and standard deviation over patients; there is no deviation of a single one."""

    patients: Count
    mean: float
    deviation: float | None


class MatrixRow(Frozen):
    """One measure of one model, site by site.

    Attributes:
        assessor: `translation` or `segmentation`.
        model: `released`, or what it is compared with.
        of: the sequence that is drawn, or the region that is segmented.
        measure: `mae` (grey levels of 255, in the brain), `ssim` or `dice`.
        pooled: over the patients of all sites that answered.
        sites: site → its own patients.
        withheld: sites that have some patients, but too few.
        worst_site: the site that fares worst, where two or more can be compared.
    """

    assessor: str
    model: str
    of: str
    measure: str
    pooled: Figure
    sites: dict[str, Figure]
    withheld: tuple[str, ...]
    worst_site: str | None


class Distance(Frozen):
    """Fréchet distance between real and drawn slices of one sequence, of all sites (`all`) or of one.

    `encoder` names what the features are of: this is no FID, and comparable under the same release alone. `relative` is
    the value over the total variance of the real slices' features, which rids it of their scale; None where they do
    not vary.
    """

    site: str
    sequence: Sequence
    encoder: str
    patients: Count
    real_slices: Count
    drawn_slices: Count
    value: float
    relative: float | None


class RocArea(Frozen):
    """Area under the identifier's ROC curve, of all sites (`all`) or of one.

    Attributes:
        low, high: what the bins leave open; the area of these very patients lies between.
        interval_low, interval_high: 95 % confidence limits, what the bins leave open included.
        disrupted, intact: patients of either status.
    """

    site: str
    low: float
    high: float
    interval_low: float
    interval_high: float
    disrupted: Count
    intact: Count


class RocPoint(Frozen):
    """One threshold of the pooled curve: between which rates it lies, since groups that it cuts may fall either way."""

    threshold: float
    false_positive_low: float
    false_positive_high: float
    true_positive_low: float
    true_positive_high: float


class Roc(Frozen):
    """How well the identifier's score tells the BBB status, from class-wise histograms."""

    bins: Count
    areas: tuple[RocArea, ...]
    curve: tuple[RocPoint, ...]


class Dossier(Frozen):
    """The whole of `assessment.json`.

    Attributes:
        weights: digest of the weights that were assessed.
        sites: site → whether it answered.
        refusal: why these weights may not become a release; None where they may.
    """

    schema_version: Literal[1] = 1
    study_digest: Digest
    weights: Digest
    sites: dict[str, SiteStatus]
    matrix: tuple[MatrixRow, ...] = ()
    distances: tuple[Distance, ...] = ()
    roc: Roc | None = None
    membership: MembershipFigures | None = None
    memorisation: MemorisationFigures | None = None
    refusal: str | None = None
    research_use_only: Literal[True] = True

    @property
    def attacks(self) -> tuple[AttackRow, ...]:
        """What every attack achieved, with its bound."""
        rows = () if self.membership is None else self.membership.rows
        return rows if self.memorisation is None else (*rows, *self.memorisation.rows)

    def to_bytes(self) -> bytes:
        """Return the file's bytes, the same for the same dossier."""
        return (json.dumps(self.model_dump(mode="json"), sort_keys=True, indent=1) + "\n").encode()


def parse_dossier(data: bytes, origin: str) -> Dossier:
    """Parse the bytes of an `assessment.json`. Raises ReleaseError where they are damaged."""
    try:
        if len(data) > MAX_DOSSIER_BYTES:
            raise ValueError
        return Dossier.model_validate_json(data)
    except (ValueError, ValidationError):
        raise ReleaseError(f"{origin}: damaged, or not of this version; fetch the release again") from None


def read_dossier(path: Path) -> Dossier | None:
    """Return the dossier at `path`, None where there is none. Raises ReleaseError where it is damaged."""
    return parse_dossier(path.read_bytes(), str(path)) if path.is_file() else None
