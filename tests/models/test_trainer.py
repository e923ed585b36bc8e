"""Laws of the loop and of one descent."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from client.training.trainer import NonFiniteLossError, descend, draw_batches, fit, rate_of
from client.training.update import Counted
from common.settings.stages import StageSettings


class _Counting:
    """A step whose batch is a random number and whose loss is that number."""

    def __init__(self) -> None:
        self.model = nn.Identity()
        self.optimisers: dict[str, torch.optim.Optimizer] = {}

    def draw(self, generator: torch.Generator) -> float:
        return float(torch.rand((), generator=generator))

    def __call__(self, batch: float) -> dict[str, float]:
        return {"loss": batch}

    def evaluate(self, store: object) -> dict[str, Counted]:
        return {}

    def patients(self) -> dict[str, int]:
        return {}

    def behind(self) -> dict[str, int]:
        return {}


def _parameter() -> tuple[nn.Parameter, torch.optim.Optimizer]:
    parameter = nn.Parameter(torch.tensor([1.0]))
    return parameter, torch.optim.SGD([parameter], lr=0.1)


def test_the_loop_tells_its_listener_every_step_in_order() -> None:
    heard: list[tuple[int, float]] = []
    step = _Counting()
    generator = torch.Generator().manual_seed(1)
    fit(step, draw_batches(step, 3, generator), lambda number, losses: heard.append((number, losses["loss"])))
    expected = torch.rand(3, generator=torch.Generator().manual_seed(1)).tolist()
    assert heard == list(zip((1, 2, 3), expected, strict=True))


def test_a_cosine_falls_over_all_rounds_and_passes_their_borders_without_a_jump() -> None:
    settings = StageSettings(rounds=2, local_steps=10, learning_rate_decay="cosine")
    shares = [rate_of(settings, number)(step) for number in (1, 2) for step in range(1, 11)]
    assert shares[0] == 1.0
    assert shares[10] == pytest.approx(0.51)  # half-way: the mean of 1 and a fiftieth
    assert shares == sorted(shares, reverse=True)
    assert 0.02 < shares[-1] < 0.04
    assert rate_of(StageSettings(), 3)(7) == 1.0


def test_steps_divide_the_rate_by_ten_at_half_and_at_four_fifths_of_the_stage() -> None:
    settings = StageSettings(rounds=200, local_steps=3, learning_rate_decay="steps")
    shares = [rate_of(settings, epoch)(step) for epoch in range(1, 201) for step in (1, 2, 3)]
    assert shares == pytest.approx([1.0] * 300 + [0.1] * 180 + [0.01] * 120)


def test_a_warm_up_rises_from_a_fiftieth_and_the_cosine_takes_the_rounds_that_are_left() -> None:
    settings = StageSettings(rounds=100, local_steps=2, learning_rate_decay="cosine", warm_up=0.05)
    shares = [rate_of(settings, epoch)(step) for epoch in range(1, 101) for step in (1, 2)]
    assert shares[:11] == pytest.approx([0.02 + 0.098 * step for step in range(11)])  # full after 5 of 100 epochs
    assert shares[10:] == sorted(shares[10:], reverse=True)
    assert shares[105] == pytest.approx(0.51)  # half of the other 95
    assert 0.02 < shares[-1] < 0.021


def test_a_warm_up_alone_ends_at_the_full_rate_and_stays_there() -> None:
    settings = StageSettings(rounds=4, local_steps=1, warm_up=0.25)
    assert [rate_of(settings, number)(1) for number in (1, 2, 3, 4)] == [0.02, 1.0, 1.0, 1.0]


def test_the_loop_scales_each_rate_by_the_step_and_leaves_it_as_it_found_it() -> None:
    _, optimiser = _parameter()
    step = _Counting()
    step.optimisers = {"only": optimiser}
    seen: list[float] = []
    batches = draw_batches(step, 3, torch.Generator().manual_seed(1))
    fit(step, batches, lambda number, losses: seen.append(optimiser.param_groups[0]["lr"]), lambda number: 1 / number)
    assert seen == pytest.approx([0.1, 0.05, 0.1 / 3])
    assert optimiser.param_groups[0]["lr"] == 0.1


def test_descending_moves_against_the_gradient_and_reports_the_parts() -> None:
    parameter, optimiser = _parameter()
    losses = descend((3 * parameter).sum(), {"part": parameter.sum()}, optimiser, clip_norm=None)
    assert losses == {"loss": 3.0, "part": 1.0}
    assert parameter.item() == pytest.approx(1 - 0.1 * 3)


def test_the_gradient_is_clipped_to_its_norm() -> None:
    parameter, optimiser = _parameter()
    descend((3 * parameter).sum(), {}, optimiser, clip_norm=1.0)
    assert parameter.item() == pytest.approx(0.9, abs=1e-5)


@pytest.mark.parametrize("factor", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_stops_before_the_optimiser_moves(factor: float) -> None:
    parameter, optimiser = _parameter()
    with pytest.raises(NonFiniteLossError, match="learning_rate") as caught:
        descend((factor * parameter).sum(), {}, optimiser)
    assert caught.value.code == "non-finite-loss"
    assert parameter.item() == 1.0


def test_a_gradient_that_is_not_finite_stops_before_the_optimiser_moves() -> None:
    parameter, optimiser = _parameter()
    with pytest.raises(NonFiniteLossError, match="gradient"):
        descend((parameter - 1).sqrt().sum(), {}, optimiser)
    assert parameter.item() == 1.0


def test_a_batch_from_which_nothing_can_be_learnt_moves_nothing() -> None:
    parameter, optimiser = _parameter()
    assert descend(torch.zeros(()), {}, optimiser) == {"loss": 0.0}
    assert parameter.item() == 1.0
