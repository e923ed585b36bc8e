"""`study.toml`: what is trained, how, by whom, and what may be reported; parsed strictly, once, into frozen models."""

from __future__ import annotations

import hashlib
import json
from functools import cache
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, ValidationError, model_validator

from common import __version__
from common.errors import StudyError
from common.nets.segmenter_plan import patch_problem
from common.sequences import STRUCTURAL, Sequence
from common.settings.aggregation import Aggregation
from common.settings.assessment import Assessment
from common.settings.attacks import Attacks
from common.settings.compatibility import Protection, conflict
from common.settings.federation import Federation
from common.settings.frozen import Frozen, Name, Positive, SiteName
from common.settings.gate import GateSettings
from common.settings.privacy import Privacy
from common.settings.problems import problems_of
from common.settings.secure_aggregation import SecureAggregation
from common.settings.stages import Stage, Stages
from common.settings.toml_text import read_toml
from common.settings.wire import Wire
from common.sources import installed_sources

MAX_STUDY_BYTES = 256 * 1024

Precision = Literal["bf16", "fp32"]
"""What networks compute in, over fp32 weights."""


class Grid(Frozen):
    """The voxel grid of every site's cached slices: RAS+ axes, in-plane size (I, J), as many slices as needed.

    Sides are multiples of 8, by which the networks of the papers' size halve; the tiny ones need 16.
    """

    spacing_mm: tuple[float, float, float] = (2.4, 2.4, 4.0)
    shape: tuple[Positive, Positive] = (64, 80)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if not all(0.2 <= step <= 10 for step in self.spacing_mm):
            raise ValueError("spacing_mm must lie in 0.2 … 10 mm on each axis")
        if any(size % 8 or not 32 <= size <= 512 for size in self.shape):
            raise ValueError("shape must be multiples of 8 between 32 and 512, of 16 where the study's size is tiny")
        if any(size * step < 150 for size, step in zip(self.shape, self.spacing_mm, strict=False)):
            raise ValueError("shape x spacing_mm must cover at least 150 mm, or brains are cut off")
        return self


class Data(Frozen):
    """How each site's patients are used."""

    holdout_fraction: Annotated[float, Field(ge=0, le=0.5)] = 0.25
    pairs: Literal["use", "ignore"] = "use"
    minimum_patients: Positive = 1
    t1_scaling: Literal["grey", "pre-contrast-maximum"] = "grey"


class Training(Frozen):
    """What all sites compute alike: `bf16` over fp32 weights where a device has it, or `fp32` throughout."""

    precision: Precision = "bf16"


class Reporting(Frozen):
    """What may leave a site besides tensors: a metric needs at least `minimum_count` patients behind it."""

    minimum_count: Positive = 5


class Study(Frozen):
    """One study, as every party sees it.

    `sites` are the consortium's members, `reference_site` is the centre that all are harmonized to.
    """

    schema_version: Literal[1] = 1
    name: Name
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 1
    size: Literal["tiny", "paper"] = "tiny"
    sites: Annotated[tuple[SiteName, ...], Field(min_length=1, max_length=256)]
    reference_site: str
    sequences: Annotated[tuple[Sequence, ...], Field(min_length=1)] = STRUCTURAL
    grid: Grid = Grid()
    data: Data = Data()
    training: Training = Training()
    federation: Federation = Federation()
    aggregation: Aggregation = Aggregation()
    gate: GateSettings = GateSettings()
    wire: Wire = Wire()
    stages: Stages
    assessment: Assessment = Assessment()
    attacks: Attacks = Attacks()
    reporting: Reporting = Reporting()
    privacy: Privacy = Privacy()
    secure_aggregation: SecureAggregation = SecureAggregation()

    @model_validator(mode="after")
    def _check(self) -> Self:
        if len(set(self.sites)) != len(self.sites):
            raise ValueError("sites: a site is named twice")
        if len(set(self.sequences)) != len(self.sequences):
            raise ValueError("sequences: a sequence is named twice")
        if self.size == "tiny" and any(side % 16 for side in self.grid.shape):
            raise ValueError('grid: shape must be multiples of 16 where size is "tiny"; of 8 is enough for "paper"')
        if self.reference_site not in self.sites:
            raise ValueError(f"reference_site: {self.reference_site!r} is not among sites")
        if self.federation.quorum > len(self.sites):
            raise ValueError(
                f"federation.quorum: {self.federation.quorum} of {len(self.sites)} sites can never be reached"
            )
        unknown = sorted(set(self.federation.required) - set(self.sites))
        if unknown:
            raise ValueError(f"federation.required: {', '.join(unknown)} not among sites, so no round could ever count")
        if problem := self.aggregation.problem(len(self.sites)):
            raise ValueError(f"aggregation.rule: {problem}")
        if self.stages.synthesiser is not None:
            needed = (*self.stages.synthesiser.conditions, Sequence.T1GD)
            if not set(needed) <= set(self.sequences):
                raise ValueError(f"stages.synthesiser: needs {', '.join(needed)} among sequences")
        if self.stages.segmenter is not None and set(STRUCTURAL) - set(self.sequences):
            raise ValueError("stages.segmenter: needs T1, T1Gd, T2 and FLAIR among sequences")
        problem = self.secure_aggregation.problem(len(self.sites)) or conflict(self.protections)
        if problem:
            raise ValueError(problem)
        self._check_patch()
        problem = self.attacks.problem(self.assessment.enabled, self.data.holdout_fraction)
        if problem:
            raise ValueError(f"attacks: {problem}")
        unprotected = self.privacy.problem(self.stages, self.assessment)
        if unprotected:
            raise ValueError(unprotected)
        maps = self.stages.maps
        lacking = [] if maps is None else [s for s in (maps.target, *maps.inputs) if s not in self.sequences]
        if lacking:
            raise ValueError(f"stages.maps: needs its target and inputs among sequences; add {', '.join(lacking)}")
        return self

    @property
    def protections(self) -> frozenset[Protection]:
        """What the study asks for on the way of an update."""
        asked = {
            Protection.SECURE: self.secure_aggregation.enabled,
            Protection.ROBUST: self.aggregation.rule != "mean",
            Protection.PRIVATE: bool(self.privacy.stages),
            Protection.CODED: self.wire != Wire(),
            Protection.NORMS: self.gate.norm_limit > 0,
        }
        return frozenset(protection for protection, on in asked.items() if on)

    def _check_patch(self) -> None:
        """Refuse a patch of the segmenter that is wider than the grid, or that its levels cannot halve."""
        patch = None if self.stages.segmenter is None else self.stages.segmenter.patch
        problem = patch and patch_problem(self.size, patch, self.grid.shape, self.grid.spacing_mm)
        if problem:
            raise ValueError(f"stages.segmenter.patch: {problem}")

    def deadline_s(self, stage: Stage) -> float:
        """Return the seconds after which a site that has not answered in a round of `stage` is late."""
        settings = self.stages.of(stage)
        own = None if settings is None else settings.deadline_s
        return self.federation.deadline_s if own is None else own

    def canonical_json(self) -> str:
        """Return the study as JSON with sorted keys and all defaults written out: what is hashed and sent."""
        return json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))

    @property
    def digest(self) -> str:
        """SHA-256 over the canonical study and the code version: what a site approves."""
        return hashlib.sha256(f"{self.canonical_json()}\n{code_version()}".encode()).hexdigest()


@cache
def code_version() -> str:
    """Return the package version and a SHA-256 prefix over all sources that run at a site or at the coordinator."""
    total = hashlib.sha256()
    for path, content in installed_sources().items():
        total.update(path.encode() + b"\0" + content + b"\0")
    return f"{__version__}+{total.hexdigest()[:12]}"


def parse_study(text: str, origin: str = "study") -> Study:
    """Parse the text of a `study.toml`.

    Raises:
        StudyError: with every problem found, each with the line to change.
    """
    tree = read_toml(text, origin, MAX_STUDY_BYTES)
    try:
        return Study.model_validate_json(json.dumps(tree), strict=True)
    except ValidationError as error:
        raise StudyError(problems_of(error, origin, text, "study")) from None


def load_study(path: Path) -> Study:
    """Read and parse the study at `path`. Raises StudyError where it is missing or wrong."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise StudyError(f"{path}: cannot be read ({type(error).__name__}); give the path of a study.toml") from None
    return parse_study(text, origin=str(path))
