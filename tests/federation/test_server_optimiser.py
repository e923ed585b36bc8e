"""Momentum, FedAdam and FedYogi at the coordinator: by hand, and what never moves."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from common.parameters import Grouping, StateDict
from common.settings.aggregation import Aggregation
from server.aggregation.server_optimiser import FIRST, SECOND, Moved, step

OPTIMISERS = ["momentum", "adam", "yogi"]


def play(settings: dict[str, Any], *targets: float, trained: tuple[str, ...] = ("shared",)) -> Moved:
    """Play rounds whose aggregate is the current weight plus each of `targets`, from a weight of 1."""
    moved = Moved({"w": torch.tensor([1.0])}, {})
    for target in targets:
        merged: StateDict = {"w": moved.tensors["w"] + target}
        moved = step(Aggregation(**settings), moved.tensors, merged, moved.moments, trained, {"w"})
    return moved


def test_no_optimiser_takes_the_aggregate_and_keeps_nothing() -> None:
    moved = play({"server_optimiser": "none"}, 2.0)
    assert moved.tensors["w"].tolist() == [3.0] and moved.moments == {}


def test_momentum_adds_half_of_the_last_step() -> None:
    moved = play({"server_optimiser": "momentum", "beta_1": 0.5}, 2.0, 1.0)
    # m1 = 2, w = 3; m2 = 0.5 * 2 + 1 = 2, w = 5
    assert moved.tensors["w"].tolist() == [5.0] and moved.moments[FIRST + "w"].tolist() == [2.0]


def test_momentum_of_zero_at_rate_one_takes_the_aggregate() -> None:
    assert play({"server_optimiser": "momentum", "beta_1": 0.0}, 2.0, -0.5).tensors["w"].tolist() == [2.5]


def test_adam_by_hand() -> None:
    settings = {"server_optimiser": "adam", "server_learning_rate": 0.5, "beta_1": 0.5, "beta_2": 0.75, "tau": 0.5}
    moved = play(settings, 2.0)
    # m = 0.5 * 2 = 1; v = 0.75 * 0.25 + 0.25 * 4 = 1.1875; w = 1 + 0.5 * 1 / (sqrt(1.1875) + 0.5)
    assert moved.moments[FIRST + "w"].tolist() == [1.0] and moved.moments[SECOND + "w"].tolist() == [1.1875]
    assert moved.tensors["w"].item() == pytest.approx(1 + 0.5 / (math.sqrt(1.1875) + 0.5))


def test_yogi_by_hand() -> None:
    settings = {"server_optimiser": "yogi", "server_learning_rate": 0.5, "beta_1": 0.5, "beta_2": 0.75, "tau": 0.5}
    moved = play(settings, 2.0, 1.0)
    # v1 = 0.25 - 0.25 * 4 * sign(0.25 - 4) = 1.25; v2 = 1.25 - 0.25 * 1 * sign(1.25 - 1) = 1; m2 = 0.5 * 1 + 0.5 * 1
    assert moved.moments[SECOND + "w"].tolist() == [1.0] and moved.moments[FIRST + "w"].tolist() == [1.0]
    first = 1 + 0.5 / (math.sqrt(1.25) + 0.5)
    assert moved.tensors["w"].item() == pytest.approx(first + 0.5 / 1.5)


@pytest.mark.parametrize("optimiser", OPTIMISERS)
def test_a_group_that_was_not_trained_does_not_move_and_neither_do_its_moments(optimiser: str) -> None:
    settings = Aggregation(server_optimiser=optimiser)
    moved = play({"server_optimiser": optimiser}, 2.0)
    rested = step(settings, moved.tensors, dict(moved.tensors), moved.moments, (), {"w"})
    assert torch.equal(rested.tensors["w"], moved.tensors["w"])
    assert all(torch.equal(rested.moments[name], moved.moments[name]) for name in moved.moments)


@pytest.mark.parametrize("optimiser", OPTIMISERS)
def test_buffers_norms_statistics_and_counters_take_the_aggregate(optimiser: str) -> None:
    current = {
        "running_var": torch.tensor([1.0]),
        "norm.weight": torch.tensor([1.0]),
        "statistics.table": torch.tensor([1.0]),
        "seen": torch.tensor(3),
    }
    merged = {name: tensor + 2 if tensor.is_floating_point() else tensor for name, tensor in current.items()}
    groups = ("shared", "norms", "statistics")
    grouping = Grouping(norms=frozenset({"norm.weight"}))
    parameters = {"norm.weight", "statistics.table"}
    moved = step(Aggregation(server_optimiser=optimiser), current, merged, {}, groups, parameters, grouping)
    assert all(torch.equal(moved.tensors[name], merged[name]) for name in current) and moved.moments == {}
