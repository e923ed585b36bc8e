"""Frozen generators as they fill missing sequences: each with the domains that it can draw, and which case is whose."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

import torch
from torch import nn

from client.inference.fill import Translator
from common.nets.stage_models import build_model
from common.nets.ummgat import Ummgat
from common.parameters import DOMAIN_PREFIX, group_of
from common.seeding import torch_generator
from common.sequences import Domain
from common.settings.stages import Stage
from common.study import Study


@dataclass(frozen=True)
class Pen:
    """A frozen generator.

    Attributes:
        generator: draws slices.
        domains: among which the style of a fill is chosen.
        digest: hash of its weights.
    """

    generator: Translator
    domains: tuple[Domain, ...]
    digest: str


@dataclass(frozen=True)
class CrossFit:
    """Which generator fills a training patient: the one that was trained on the other fold.

    Attributes:
        folds: training patient → fold, 0 or 1.
        pens: the generators trained on fold 0 and on fold 1.
    """

    folds: Mapping[str, int]
    pens: tuple[Pen, Pen]

    def pen_of(self, patient: str) -> Pen | None:
        """Return the generator that never saw `patient`; None where no fold holds the patient."""
        fold = self.folds.get(patient)
        return None if fold is None else self.pens[1 - fold]


def trained_domains(stage: Stage, model: nn.Module, study: Study, domains: tuple[Domain, ...]) -> tuple[Domain, ...]:
    """Return the image domains of a generator whose own tensors moved from their first values.

    A group that nobody trained keeps its value, bit for bit; half of a site's patients may be too few for a domain that
    all of them carry. A stand-in that is no `Ummgat` is taken to draw all that it names.
    """
    if not isinstance(model, Ummgat):
        return cast(Translator, model).domains
    first = build_model(stage, study, domains, torch_generator(study.seed, "initial", stage.value)).state_dict()
    moved = {
        group_of(name)
        for name, tensor in model.state_dict().items()
        if not torch.equal(tensor.detach().cpu(), first[name])
    }
    return tuple(domain for domain in domains if not domain.lesion and DOMAIN_PREFIX + domain.key in moved)
