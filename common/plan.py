"""The plan of a run: what the inventory of the sites turned the study into, frozen before the first round."""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Self

from pydantic import Field, model_validator

from common.sequences import Domain, Sequence, with_twins
from common.settings.frozen import Frozen
from common.study import Study


class SiteInventory(Frozen):
    """What one site says it has: counts of patients, never names; sequences below the site's minimum are left out."""

    site: str
    training_patients: Annotated[int, Field(ge=0, le=10_000_000)]
    sequences: dict[Sequence, Annotated[int, Field(ge=1, le=10_000_000)]]
    labelled_patients: Annotated[int, Field(ge=0, le=10_000_000)] = 0
    bbb_patients: Annotated[int, Field(ge=0, le=10_000_000)] = 0


class Plan(Frozen):
    """The study's digest and every site's inventory; the generator's domains follow from it."""

    study_digest: str
    inventory: tuple[SiteInventory, ...]

    @model_validator(mode="after")
    def _check(self) -> Self:
        names = [entry.site for entry in self.inventory]
        if names != sorted(set(names)):
            raise ValueError("inventory must name each site once, in sorted order")
        return self

    def domains(self, study: Study) -> tuple[Domain, ...]:
        """Return the image domains of the study's sequences that some site holds, then their lesion twins."""
        held = [
            Domain(entry.site, sequence)
            for entry in self.inventory
            for sequence in entry.sequences
            if sequence in study.sequences
        ]
        return with_twins(tuple(held))

    @property
    def digest(self) -> str:
        """SHA-256 of the plan's canonical JSON."""
        text = json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()
