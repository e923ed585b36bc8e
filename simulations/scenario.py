"""`*.cohort.toml`: a phantom consortium: hospitals, scanners, lost sequences, and how strong the BBB's trace is."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, ValidationError, model_validator

from common.errors import StudyError
from common.sequences import QUANTITATIVE, STRUCTURAL, Sequence
from common.settings.frozen import Frozen, Name, SiteName
from common.settings.problems import problems_of
from common.settings.toml_text import read_toml

SCENARIO_FOLDER = Path(__file__).parent / "scenarios"
SUFFIX = ".cohort.toml"

FIELDS_TESLA = (1.5, 3.0)

Probability = Annotated[float, Field(ge=0, le=1)]
Milliseconds = Annotated[float, Field(gt=0, le=30_000)]


class Equation(StrEnum):
    """The signal equation of a weighted image."""

    SPIN_ECHO = "spin-echo"
    FLAIR = "flair"
    SPGR = "spgr"
    MPRAGE = "mprage"


class Layout(StrEnum):
    """The folder convention in which a hospital keeps its scans."""

    BRATS2021 = "brats2021"
    BIDS = "bids"
    CBSI = "cbsi"


class Protocol(Frozen):
    """How a scanner weights one sequence; times in ms, flip angle in degrees, `echo_spacing_ms` for MPRAGE alone."""

    equation: Equation
    tr_ms: Milliseconds
    te_ms: Milliseconds
    ti_ms: Milliseconds | None = None
    flip_deg: Annotated[float, Field(gt=0, le=90)] | None = None
    echo_spacing_ms: Milliseconds = 7.4
    echoes: Annotated[int, Field(ge=1, le=512)] = 176

    @model_validator(mode="after")
    def _check(self) -> Self:
        needs_ti = self.equation in (Equation.FLAIR, Equation.MPRAGE)
        needs_flip = self.equation in (Equation.SPGR, Equation.MPRAGE)
        if needs_ti != (self.ti_ms is not None):
            raise ValueError(f"ti_ms: {self.equation} {'needs' if needs_ti else 'takes no'} inversion time")
        if needs_flip != (self.flip_deg is not None):
            raise ValueError(f"flip_deg: {self.equation} {'needs' if needs_flip else 'takes no'} flip angle")
        return self


class Scanner(Frozen):
    """One hospital's scanner; `slice_thickness_mm` is left out where slices are as thin as the phantom's voxels."""

    field_tesla: float
    slice_thickness_mm: Annotated[float, Field(ge=1, le=8)] | None = None
    snr: Annotated[float, Field(ge=3, le=200)]
    bias: Annotated[float, Field(ge=0, le=1)] = 0.15
    blur_mm: Annotated[float, Field(ge=0, le=4)] = 0.0
    intensity: Annotated[float, Field(ge=50, le=8000)] = 600.0
    tilt_deg: Annotated[float, Field(ge=-30, le=30)] = 0.0
    axes: Annotated[str, Field(pattern=r"^[RL][AP][SI]$")] = "RAS"
    protocols: dict[Sequence, Protocol]

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.field_tesla not in FIELDS_TESLA:
            raise ValueError("field_tesla: tissue values are known at 1.5 and 3.0 T")
        missing = sorted({Sequence.T1, Sequence.T2, Sequence.FLAIR} - set(self.protocols))
        if missing:
            raise ValueError(f"protocols: {', '.join(missing)} missing; T1Gd takes T1's unless it has its own")
        maps = sorted(QUANTITATIVE & set(self.protocols))
        if maps:
            raise ValueError(f"protocols: {', '.join(maps)} is a map in physical units, it has no protocol")
        return self

    def protocol(self, sequence: Sequence) -> Protocol:
        """Return the protocol of a weighted sequence."""
        return self.protocols.get(sequence) or self.protocols[Sequence.T1]


class Losses(Frozen):
    """Which sequences a hospital has of a patient; drawn without a look at the patient.

    Attributes:
        keep: probability that a sequence is there; one that is not named never is.
        complete: share of the patients who have every sequence of `keep`.
        patterns: fixed sets of sequences instead, dealt out in turn.
        one_at_random: the patient keeps one of the sequences of `keep`, drawn with these weights.
    """

    keep: dict[Sequence, Probability] = Field(default_factory=dict)
    complete: Probability = 0.0
    patterns: tuple[tuple[Sequence, ...], ...] = ()
    one_at_random: bool = False

    @model_validator(mode="after")
    def _check(self) -> Self:
        if bool(self.keep) == bool(self.patterns):
            raise ValueError("give either keep or patterns")
        if self.patterns and (self.complete or self.one_at_random):
            raise ValueError("patterns: stands alone, without complete or one_at_random")
        if self.patterns and not all(self.patterns):
            raise ValueError("patterns: a patient without any sequence is no patient")
        if self.keep and not any(self.keep.values()):
            raise ValueError("keep: every probability is zero, so patients would have no sequence")
        return self

    @property
    def sequences(self) -> tuple[Sequence, ...]:
        """All sequences that some patient may have, in the vocabulary's order."""
        named = {name for name, share in self.keep.items() if share > 0} | {s for p in self.patterns for s in p}
        return tuple(sequence for sequence in Sequence if sequence in named)


class Hospital(Frozen):
    """One site: how many patients, in which folders, with which labels, from which scanner, and what is lost."""

    name: SiteName
    layout: Layout
    labels: Literal["none", "whole", "full"]
    patients: Annotated[int, Field(ge=1, le=100_000)]
    losses: Losses
    scanner: Scanner

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.layout is Layout.CBSI and self.labels == "full":
            raise ValueError("labels: the CBSI layout holds a whole-tumour ROI; use whole or none")
        drawn = {*STRUCTURAL, *QUANTITATIVE}
        undrawn = sorted(set(self.losses.sequences) - drawn)
        if undrawn:
            raise ValueError(f"losses.keep: the phantom does not draw {', '.join(undrawn)}")
        return self


class Scenario(Frozen):
    """A consortium; without gadolinium the BBB status moves one latent of unit deviation by `separation`, no more."""

    schema_version: Literal[1] = 1
    name: Name
    separation: Annotated[float, Field(ge=0, le=6)] = 1.19
    disrupted: Probability = 0.5
    grades: tuple[Probability, Probability, Probability] = (0.3, 0.25, 0.45)
    sites: Annotated[tuple[Hospital, ...], Field(min_length=1, max_length=256)]

    @model_validator(mode="after")
    def _check(self) -> Self:
        names = [site.name for site in self.sites]
        if len(set(names)) != len(names):
            raise ValueError("sites: a site is named twice")
        if abs(sum(self.grades) - 1) > 1e-6:
            raise ValueError("grades: shares of grade 2, 3 and 4 must sum to 1")
        return self

    def site(self, name: str) -> Hospital:
        """Return the hospital called `name`. Raises KeyError where there is none."""
        return next(site for site in self.sites if site.name == name)


def parse_scenario(text: str, origin: str = "scenario") -> Scenario:
    """Parse the text of a cohort scenario. Raises StudyError with every problem and its line."""
    try:
        return Scenario.model_validate(read_toml(text, origin))
    except ValidationError as error:
        raise StudyError(problems_of(error, origin, text, "scenario")) from None


def load_scenario(name_or_path: str | Path) -> Scenario:
    """Load a scenario by path, or by name one that ships with GlioFed. Raises StudyError where it cannot be read."""
    path = Path(name_or_path)
    if path.suffix != ".toml":
        path = SCENARIO_FOLDER / f"{name_or_path}{SUFFIX}"
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        known = ", ".join(scenario_names())
        raise StudyError(
            f"{name_or_path}: no such scenario; give the path of a {SUFFIX} file or one of: {known}"
        ) from None
    return parse_scenario(text, origin=str(path))


def scenario_names() -> tuple[str, ...]:
    """Names of the scenarios that ship with GlioFed, sorted."""
    return tuple(sorted(path.name.removesuffix(SUFFIX) for path in SCENARIO_FOLDER.glob(f"*{SUFFIX}")))
