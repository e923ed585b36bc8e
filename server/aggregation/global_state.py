"""What a stage has at the coordinator between two rounds, and how the accepted updates of a round carry it on."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from common.moving_average import MovingAverage, start
from common.parameters import PLAIN, Grouping, StateDict
from common.settings.aggregation import Aggregation
from server.aggregation import server_optimiser
from server.aggregation.groupwise import aggregate, trained_groups
from server.aggregation.rule import Rule
from server.aggregation.weighted import SpooledUpdate


@dataclass(frozen=True)
class GlobalState:
    """The global tensors, their moving average, and the server optimiser's moments (empty without one)."""

    tensors: StateDict
    average: MovingAverage
    moments: StateDict = field(default_factory=dict)

    @classmethod
    def first(cls, initial: StateDict) -> GlobalState:
        """Return the state before the first round."""
        return cls(initial, start(initial))


@dataclass(frozen=True)
class Aggregator:
    """How a stage's updates are put together.

    Attributes:
        settings: the study's `[aggregation]`.
        cap: patients above which a site weighs no more.
        ema_decay, steps: the moving average's decay a local step, and the local steps of a round.
        parameters: names of the tensors that are parameters, not buffers.
        grouping: which tensors are a site's own.
    """

    settings: Aggregation
    cap: int
    ema_decay: float
    steps: int
    parameters: Collection[str] = ()
    grouping: Grouping = PLAIN

    @property
    def rule(self) -> Rule:
        """How the sites' values of a tensor become one."""
        return Rule(self.settings)

    def refused(self, updates: Sequence[SpooledUpdate]) -> dict[str, int]:
        """Return the groups that keep their value because too few sites trained them for the rule, and how many."""
        counts = trained_groups(updates)
        return {group: counts[group] for group in sorted(counts) if self.rule.refuses(group, counts[group])}

    def advance(self, state: GlobalState, updates: Sequence[SpooledUpdate]) -> GlobalState:
        """Return the state after a round whose accepted updates these are."""
        merged = aggregate(state.tensors, updates, self.cap, self.grouping, self.rule)
        return self.carry(state, merged, trained_groups(updates).keys() - self.refused(updates).keys())

    def carry(self, state: GlobalState, merged: StateDict, trained: Collection[str]) -> GlobalState:
        """Return the state after a round that gave `merged`, in which the groups `trained` moved."""
        moved = server_optimiser.step(
            self.settings, state.tensors, merged, state.moments, trained, self.parameters, self.grouping
        )
        average = state.average.moved(moved.tensors, trained, self.ema_decay, self.steps, self.grouping)
        return GlobalState(moved.tensors, average, moved.moments)
