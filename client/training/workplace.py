"""Where a stage's step is built: what every model family's step file is given beside its network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import nn

from client.data.dataset import CaseStore
from common.sequences import Domain
from common.settings.stages import Stage
from common.study import Study


@dataclass(frozen=True)
class Workplace:
    """One stage's round at one site.

    Attributes:
        study: what is trained.
        domains: the plan's, images first, then their lesion twins.
        site_name: the site's name in the study.
        store: its training cases.
        frozen: the released networks of earlier stages, in evaluation mode, without gradients.
        device: where the step computes.
        minimum: the fewest patients behind a number that may leave the site.
    """

    study: Study
    domains: tuple[Domain, ...]
    site_name: str
    store: CaseStore
    frozen: Mapping[Stage, nn.Module]
    device: torch.device
    minimum: int = 1
