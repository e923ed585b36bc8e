"""FedProx: the pull towards the global weights, by hand."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from client.training.proximal import pull_towards_global


class Two(nn.Module):
    """A shared weight and a local one."""

    LOCAL_PREFIXES = ("private.",)

    def __init__(self) -> None:
        super().__init__()
        self.trunk, self.private = nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False)
        nn.init.ones_(self.trunk.weight)
        nn.init.ones_(self.private.weight)


def descend(model: Two, optimiser: torch.optim.Optimizer, steps: int) -> None:
    """Each step's own gradient is 2 in both weights."""
    for _ in range(steps):
        optimiser.zero_grad()
        (2 * model.trunk.weight.sum() + 2 * model.private.weight.sum()).backward()
        optimiser.step()


def test_two_steps_by_hand() -> None:
    model = Two()
    optimiser = torch.optim.SGD(model.parameters(), lr=0.1)
    pull_towards_global(model, [optimiser], 3.0)
    descend(model, optimiser, 2)
    # w1 = 1 - 0.1 * 2 = 0.8; w2 = 0.8 - 0.1 * (2 + 3 * (0.8 - 1)) = 0.66
    assert model.trunk.weight.item() == pytest.approx(0.66)
    assert model.private.weight.item() == pytest.approx(0.6)  # a site's own tensor has no global value


def test_a_weight_of_zero_changes_no_bit() -> None:
    found = []
    for weight in (None, 0.0):
        model = Two()
        optimiser = torch.optim.AdamW(model.parameters(), lr=0.1)
        if weight is not None:
            pull_towards_global(model, [optimiser], weight)
        descend(model, optimiser, 3)
        found.append(model.trunk.weight.detach())
    assert torch.equal(*found)


def test_the_stronger_the_pull_the_nearer_a_site_stays() -> None:
    away = []
    for weight in (0.0, 1.0, 5.0):
        model = Two()
        optimiser = torch.optim.SGD(model.parameters(), lr=0.1)
        pull_towards_global(model, [optimiser], weight)
        descend(model, optimiser, 20)
        away.append(abs(model.trunk.weight.item() - 1))
    assert away[0] > away[1] > away[2]


def test_a_weight_that_a_batch_says_nothing_of_stays_where_it_is() -> None:
    model = Two()
    optimiser = torch.optim.SGD(model.parameters(), lr=0.1)
    pull_towards_global(model, [optimiser], 3.0)
    nn.init.zeros_(model.trunk.weight)
    optimiser.zero_grad()
    model.private.weight.sum().backward()
    optimiser.step()
    assert model.trunk.weight.item() == 0.0
