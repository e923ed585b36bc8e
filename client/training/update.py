"""What one round of local training gave: tensors, losses, and how many patients stand behind each."""

from __future__ import annotations

from dataclasses import dataclass, field

from common.parameters import Grouping, StateDict
from common.spent import Spent


@dataclass(frozen=True)
class Counted:
    """A number and the count of patients behind it."""

    value: float
    patients: int


@dataclass(frozen=True)
class LocalUpdate:
    """A site's finished round, before anything of it may leave.

    Attributes:
        tensors: the stage model's whole state after training, on the CPU.
        grouping: which of them are the site's own.
        patients: per parameter group, the patients that touched it.
        metrics: `training.<loss>` and `held_out.<score>`.
        fewest: groups of which some number rests on fewer patients than touched the group, and on how many.
        spent: where it was trained privately, what the site's patients have spent with it. No metric leaves then.
    """

    tensors: StateDict
    grouping: Grouping
    patients: dict[str, int]
    metrics: dict[str, Counted]
    fewest: dict[str, int] = field(default_factory=dict)
    spent: Spent | None = None
