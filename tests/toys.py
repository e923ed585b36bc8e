"""The smallest model that has all a plan or a round can meet, for tests that reckon by hand."""

from __future__ import annotations

import torch
from torch import nn

from common.sequences import Domain
from common.settings.stages import Stage
from common.study import Study


class LinearModel(nn.Module):
    """y = head_d(trunk(x)), with a tensor that never leaves a site and a counter that has no mean."""

    LOCAL_PREFIXES = ("private.",)

    def __init__(self, domains: tuple[Domain, ...]) -> None:
        super().__init__()
        self.trunk = nn.Linear(1, 1)
        self.heads = nn.ModuleDict({domain.key: nn.Linear(1, 1) for domain in domains})
        self.private = nn.Linear(1, 1)
        self.register_buffer("seen", torch.zeros((), dtype=torch.int64))


def build_linear(stage: Stage, study: Study, domains: tuple[Domain, ...], generator: torch.Generator) -> nn.Module:
    """Return the model of any stage, its first weights drawn from `generator`."""
    model = LinearModel(domains)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.rand(parameter.shape, generator=generator))
    return model
