"""Laws of the optimiser checkpoint."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from client.training.checkpoint import load_optimisers, save_optimisers
from common.errors import ReleaseError


def _model() -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(3, 2)


def _move(model: nn.Module, optimiser: torch.optim.Optimizer, steps: int) -> None:
    for number in range(steps):
        optimiser.zero_grad()
        model(torch.full((1, 3), 1.0 + number)).square().sum().backward()
        optimiser.step()


def test_a_reloaded_optimiser_moves_as_if_it_had_never_stopped(tmp_path: Path) -> None:
    whole = _model()
    unbroken = torch.optim.AdamW(whole.parameters(), lr=0.1)
    _move(whole, unbroken, 3)
    save_optimisers(tmp_path / "state.safetensors", {"main": unbroken})
    second = _model()
    second.load_state_dict(whole.state_dict())
    resumed = torch.optim.AdamW(second.parameters(), lr=0.1)
    load_optimisers(tmp_path / "state.safetensors", {"main": resumed})
    _move(whole, unbroken, 2)
    _move(second, resumed, 2)
    assert torch.equal(whole.weight, second.weight)


def test_equal_states_give_equal_bytes_and_nothing_else_in_the_folder(tmp_path: Path) -> None:
    model = _model()
    optimisers = {name: torch.optim.AdamW(model.parameters(), lr=0.1) for name in ("generator", "discriminator")}
    for optimiser in optimisers.values():
        _move(model, optimiser, 2)
    save_optimisers(tmp_path / "a", optimisers)
    save_optimisers(tmp_path / "b", dict(reversed(optimisers.items())))
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]


def test_an_optimiser_that_has_not_moved_keeps_no_tensors(tmp_path: Path) -> None:
    optimiser = torch.optim.AdamW(_model().parameters(), lr=0.1)
    save_optimisers(tmp_path / "state", {"main": optimiser})
    load_optimisers(tmp_path / "state", {"main": optimiser})
    assert optimiser.state_dict()["state"] == {}


@pytest.mark.parametrize("damage", ["missing", "truncated", "other name", "other shape"])
def test_a_state_that_does_not_fit_is_refused(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "state"
    model = _model()
    optimiser = torch.optim.AdamW(model.parameters(), lr=0.1)
    _move(model, optimiser, 1)
    save_optimisers(path, {"main": optimiser})
    target, name = optimiser, "main"
    if damage == "missing":
        path.unlink()
    if damage == "truncated":
        path.write_bytes(path.read_bytes()[:-8])
    if damage == "other name":
        name = "another"
    if damage == "other shape":
        target = torch.optim.AdamW(nn.Linear(4, 2).parameters(), lr=0.1)
    with pytest.raises(ReleaseError, match="delete it"):
        load_optimisers(path, {name: target})
