"""How large a built-in run is: multiples of the rounds and patients that its files name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from common.settings.stages import Stages
from common.study import Study

ScaleName = Literal["tiny", "small"]


@dataclass(frozen=True)
class Scale:
    """Factors on the rounds of every stage and on the patients of every phantom site."""

    rounds: float
    patients: float


SCALES: dict[ScaleName, Scale] = {"tiny": Scale(rounds=1, patients=1), "small": Scale(rounds=4.5, patients=1.5)}
"""`tiny` is the files as written, minutes on two cores; `small` takes up to three quarters of an hour."""


def scaled(study: Study, scale: Scale) -> Study:
    """Return `study` with its rounds multiplied and rounded up to at least one; another study, with another digest."""
    grown = {
        name: each.model_copy(update={"rounds": max(1, round(each.rounds * scale.rounds))})
        for name, each in study.stages
        if each is not None
    }
    return study.model_copy(update={"stages": Stages.model_validate(grown)})
