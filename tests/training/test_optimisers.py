"""One optimiser for all stages, fused where it can be; its state follows the layout of what it moves."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from client.compilation import lay_out_channels_last
from client.training.checkpoint import load_optimisers, save_optimisers
from client.training.optimisers import adamw


def test_it_is_fused_on_a_cpu_and_plain_elsewhere() -> None:
    for device, fused in (("cpu", True), ("meta", False)):
        optimiser = adamw(nn.Linear(2, 2, device=device).parameters(), 0.1, 0.01, betas=(0.5, 0.9))
        group = optimiser.param_groups[0]
        assert group["fused"] is fused
        assert (group["lr"], group["weight_decay"], group["betas"]) == (0.1, 0.01, (0.5, 0.9))


def test_a_reloaded_state_lies_as_the_weights_lie(tmp_path: Path) -> None:
    model = nn.Conv2d(2, 3, 3)
    optimiser = adamw(model.parameters(), 0.1, 0.0)
    model(torch.ones(1, 2, 4, 4)).sum().backward()
    optimiser.step()
    wanted = optimiser.state[model.weight]["exp_avg"].clone()
    save_optimisers(tmp_path / "state.safetensors", {"main": optimiser})
    lay_out_channels_last(model)
    resumed = adamw(model.parameters(), 0.1, 0.0)
    load_optimisers(tmp_path / "state.safetensors", {"main": resumed})
    average = resumed.state[model.weight]["exp_avg"]
    assert torch.equal(average, wanted)
    assert average.stride() == model.weight.stride()
