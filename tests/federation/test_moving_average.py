"""The moving average of global weights."""

from __future__ import annotations

import pytest
import torch

from common.moving_average import MovingAverage, start


def state(trunk: float, head: float = 9.0) -> dict[str, torch.Tensor]:
    return {"trunk": torch.tensor([trunk]), "heads.a:T1.w": torch.tensor([head]), "seen": torch.tensor(int(trunk))}


def test_the_average_after_the_first_round_is_the_rounds_end() -> None:
    average = start(state(100.0)).moved(state(3.0), {"shared"}, decay=0.999, steps=10)
    assert average.tensors["trunk"].item() == 3.0


def test_rounds_are_weighted_by_decay_to_the_steps_since() -> None:
    average = start(state(100.0))
    for value in (2.0, 5.0, 11.0):
        average = average.moved(state(value), {"shared"}, decay=0.5, steps=1)
    # weights 0.5^2, 0.5, 1 (times 1 - 0.5), divided by 1 - 0.5^3
    assert average.tensors["trunk"].item() == pytest.approx((2.0 / 4 + 5.0 / 2 + 11.0) * 0.5 / (1 - 0.125))
    assert average.steps == {"shared": 3}


def test_decay_counts_local_steps_not_rounds() -> None:
    once, often = start(state(0.0)), start(state(0.0))
    once = once.moved(state(2.0), {"shared"}, 0.9, 4).moved(state(6.0), {"shared"}, 0.9, 2)
    often = often.moved(state(2.0), {"shared"}, 0.9, 4)
    for _ in range(2):
        often = often.moved(state(6.0), {"shared"}, 0.9, 1)
    assert once.tensors["trunk"].item() == pytest.approx(often.tensors["trunk"].item())


def test_without_decay_the_average_is_the_current_value() -> None:
    average = start(state(1.0)).moved(state(2.0), {"shared"}, 0.0, 5).moved(state(7.0), {"shared"}, 0.0, 5)
    assert average.tensors["trunk"].item() == 7.0


def test_an_untrained_group_does_not_move_and_has_no_part_in_its_later_average() -> None:
    average = start(state(0.0, 100.0)).moved(state(1.0, 100.0), {"shared"}, 0.9, 1)
    assert average.tensors["heads.a:T1.w"].item() == 100.0
    later = average.moved(state(1.0, 4.0), {"shared", "domain/a:T1"}, 0.9, 1)
    assert later.tensors["heads.a:T1.w"].item() == 4.0


def test_whole_numbers_follow_the_current_ones() -> None:
    average: MovingAverage = start(state(0.0)).moved(state(8.0), {"shared"}, 0.9, 1)
    assert average.tensors["seen"].item() == 8
