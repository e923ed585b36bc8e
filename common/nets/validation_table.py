"""What the sites' validation patients say of the identifier: not a network, but what travels like one."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from common.metrics.operating_point import TABLE_SHAPE
from common.metrics.platt import BINS
from common.parameters import STATISTICS


class ValidationTable(nn.Module):
    """Means over patients; averaged over sites by patients they are the consortium's.

    `statistics.decisions` holds the volume decisions on a grid of thresholds, `TABLE_SHAPE`; `statistics.scores` the
    patients by class and bin of their score, (2, BINS), those without a score left out. A patient of several cases has
    them share its unit weight.
    """

    def __init__(self) -> None:
        super().__init__()
        statistics = nn.Module()
        statistics.register_buffer("decisions", torch.zeros(TABLE_SHAPE, dtype=torch.float64))
        statistics.register_buffer("scores", torch.zeros(2, BINS, dtype=torch.float64))
        self.add_module(STATISTICS, statistics)

    def fill(self, decisions: Tensor, scores: Tensor) -> None:
        """Take the means of one site's patients."""
        statistics = self.get_submodule(STATISTICS)
        statistics.get_buffer("decisions").copy_(decisions)
        statistics.get_buffer("scores").copy_(scores)
