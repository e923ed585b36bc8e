"""What an assessor is given, and what it hands back: observations, patient by patient, which stay at the site."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from client.data.dataset import CaseStore
from client.training.workplace import Workplace
from common.plan import Plan
from common.sequences import Domain
from common.settings.stages import Stage
from common.study import Study


@dataclass(frozen=True)
class Examination:
    """The weights that are to become a release, at one site, before the patients of its frozen cohort.

    Attributes:
        site: the site's name in the study.
        training, held_out: cases of the cohort's patients.
        models: the averaged networks, in evaluation mode, without gradients, on `device`.
        alone: the networks that the site trained by itself, where the study asks for them.
        minimum: the patients that must stand behind a number, for observations that rest on others' than their own.
    """

    study: Study
    plan: Plan
    site: str
    training: CaseStore
    held_out: CaseStore
    models: Mapping[Stage, nn.Module]
    device: torch.device
    alone: Mapping[Stage, nn.Module] = field(default_factory=dict)
    minimum: int = 5

    @property
    def domains(self) -> tuple[Domain, ...]:
        """The plan's domains, images first, then their lesion twins."""
        return self.plan.domains(self.study)

    def place(self, store: CaseStore, models: Mapping[Stage, nn.Module] | None = None) -> Workplace:
        """Return the workplace at which the later stages' own parts read `store` with the released or other models."""
        frozen = self.models if models is None else models
        return Workplace(self.study, self.domains, self.site, store, frozen, self.device)


@dataclass(frozen=True)
class Observed:
    """What was seen of each patient, by declared name and patient key; a patient of several cases is one entry.

    Attributes:
        values: numbers, as `Values` declares them.
        bins: a bin, as `Bins` declares it.
        features: feature vectors, (n, F), as `Features` declares them.
    """

    values: Mapping[str, Mapping[str, tuple[float, ...]]] = field(default_factory=dict)
    bins: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    features: Mapping[str, Mapping[str, NDArray[np.float64]]] = field(default_factory=dict)


def joined(observed: Iterable[Observed]) -> Observed:
    """Return what several assessors saw; their names differ."""
    every = list(observed)
    return Observed(
        values={name: each for seen in every for name, each in seen.values.items()},
        bins={name: each for seen in every for name, each in seen.bins.items()},
        features={name: each for seen in every for name, each in seen.features.items()},
    )


Assessor = Callable[[Examination], Observed]
