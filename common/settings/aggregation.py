"""`[aggregation]`: how the updates of a round become the next global model, and what each site keeps to itself."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from common.settings.frozen import Frozen, Rate, Weight

FEWEST_FOR_ROBUST = 3
"""Sites below which a median or a trimmed mean protects from nobody."""

Decay = Annotated[float, Field(ge=0, lt=1)]


class Aggregation(Frozen):
    """The rule over the sites, the optimiser at the coordinator, and the two means against sites that differ.

    `rule` "median" and "trimmed-mean" count every site alike and withstand a minority of broken or hostile ones; `trim`
    is the share of sites cut off at either end, rounded up. `server_optimiser` takes the step from the global model to
    the rule's result for a gradient: "momentum" (FedAvgM), "adam" or "yogi" (Reddi 2021), with `beta_1`, `beta_2` and
    adaptivity `tau`. `proximal_weight` is FedProx' mu, a pull of mu/2 times the squared distance to the global model at
    each site. `local_norms` is FedBN: each site keeps its own normalisation layers.
    """

    rule: Literal["mean", "median", "trimmed-mean"] = "mean"
    trim: Annotated[float, Field(gt=0, lt=0.5)] = 0.2
    server_optimiser: Literal["none", "momentum", "adam", "yogi"] = "none"
    server_learning_rate: Rate = 1.0
    beta_1: Decay = 0.9
    beta_2: Decay = 0.99
    tau: Rate = 1e-3
    proximal_weight: Weight = 0.0
    local_norms: bool = False

    def problem(self, sites: int) -> str | None:
        """Return why a study of so many sites cannot be aggregated so, None where it can."""
        if self.rule != "mean" and sites < FEWEST_FOR_ROBUST:
            return f'"{self.rule}" needs {FEWEST_FOR_ROBUST} sites, the study has {sites}; take rule = "mean"'
        return None
