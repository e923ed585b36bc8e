"""The exponential moving average of the global weights, counted in local steps and corrected for its start."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from common.parameters import PLAIN, Grouping, StateDict, group_of


@dataclass(frozen=True)
class MovingAverage:
    """Averaged tensors, and per parameter group the local steps that went into them."""

    tensors: StateDict
    steps: dict[str, int]

    def moved(
        self,
        current: StateDict,
        trained: Collection[str],
        decay: float,
        steps: int,
        grouping: Grouping = PLAIN,
    ) -> MovingAverage:
        """Return the average after a round of `steps` local steps that trained the groups `trained`.

        With decay d the average of a group after n steps is a sum of its rounds' ends, weighted by d^(steps since) and
        divided by 1 - d^n, so that the initial weights have no part in it. A group that was not trained does not move;
        tensors of whole numbers follow the current ones.
        """
        total = self.steps | {group: self.steps.get(group, 0) + steps for group in trained}
        moved: StateDict = {}
        for name in sorted(current):
            group = group_of(name, grouping)
            if not current[name].is_floating_point():
                moved[name] = current[name].clone()
            elif group not in trained:
                moved[name] = self.tensors[name].clone()
            else:
                share = (1 - decay**steps) / (1 - decay ** total[group])
                old, new = self.tensors[name].double(), current[name].double()
                moved[name] = (new if share == 1 else old + share * (new - old)).to(current[name].dtype)
        return MovingAverage(moved, dict(sorted(total.items())))


def start(current: StateDict) -> MovingAverage:
    """Return the average before the first round."""
    return MovingAverage({name: tensor.clone() for name, tensor in current.items()}, {})
