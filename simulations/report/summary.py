"""`summary.json`: what a run did, measured and missed; one versioned schema, documented field by field.

`docs/reference/summary.md` is written from these models by `simulations.report.reference`. A field is None where
nothing could be measured; no measure is ever replaced by a good-looking default.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError

from common.errors import ReleaseError
from common.files import write_whole
from common.settings.frozen import Frozen
from simulations.report.course import ContractFacts, Cost, DataFacts, StageFacts, StudyFacts, Versions
from simulations.report.measures import (
    FillGap,
    Hypotheses,
    Identification,
    IdentityError,
    MapFidelity,
    PairFidelity,
    Segmentation,
)

RESEARCH_USE_ONLY = (
    "Research use only. Not a medical device: nothing here may guide the care of a patient. "
    "Synthetic images show what a model expects, not what a scanner measured."
)


class Target(Frozen):
    """One thing that the run was asked to reach."""

    name: str = Field(description="short name")
    text: str = Field(description="what was asked for, in words")
    value: float | None = Field(description="what was reached")
    limit: float | None = Field(description="the bound; None where the figure is only reported")
    direction: Literal["at most", "at least", "reported"] = Field(description="which side of the bound is good")
    status: Literal["met", "missed", "not measured", "reported"] = Field(description="the verdict")
    detail: str = Field(description="what else there is to say")


class Summary(Frozen):
    """The whole of `summary.json`."""

    schema_version: Literal[1] = Field(default=1, description="version of this schema")
    research_use_only: str = Field(default=RESEARCH_USE_ONLY, description="the limits of use")
    versions: Versions = Field(description="what ran")
    study: StudyFacts = Field(description="which study")
    data: DataFacts = Field(description="on what data, and how honest the figures can be")
    targets: tuple[Target, ...] = Field(description="what was asked for, met and missed alike")
    contract: ContractFacts | None = Field(default=None, description="who was registered, asked, and contributed")
    stages: tuple[StageFacts, ...] = Field(description="losses and bytes, round by round")
    fidelity: tuple[PairFidelity, ...] = Field(description="translation, site by site and pair by pair")
    identity: tuple[IdentityError, ...] = Field(description="translation of a domain into itself")
    fill_gap: FillGap | None = Field(description="how much better fills of training patients are than of others")
    hypotheses: tuple[Hypotheses, ...] = Field(description="the diffusion model's two T1Gd, all sites and each")
    segmentation: tuple[Segmentation, ...] = Field(description="Dice with all real and with one filled")
    identification: Identification | None = Field(description="BBB status")
    maps: tuple[MapFidelity, ...] = Field(default=(), description="maps, subset by subset of their inputs")
    failures: tuple[str, ...] = Field(description="patients or steps that could not be evaluated, and why")
    cost: Cost = Field(description="time and memory")

    @property
    def missed(self) -> tuple[Target, ...]:
        """The targets that were not reached."""
        return tuple(target for target in self.targets if target.status == "missed")


def write_summary(path: Path, summary: Summary) -> None:
    """Write `summary` as indented JSON, aside and renamed. Raises GliofedError where the disk refuses."""
    write_whole(path, (json.dumps(summary.model_dump(mode="json"), indent=2, ensure_ascii=False) + "\n").encode())


def load_summary(path: Path) -> Summary:
    """Read `summary.json` back. Raises ReleaseError where it is missing or does not fit the schema."""
    try:
        return Summary.model_validate_json(path.read_bytes())
    except OSError as error:
        raise ReleaseError(
            f"{path}: cannot be read ({error.strerror}); give the summary.json of a finished run"
        ) from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ReleaseError(
            f"{path}: {where}: {first['msg']}; written by another version of gliofed-sim? Run it again"
        ) from None
