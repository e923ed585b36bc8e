"""Optimiser states as safetensors: what a site keeps between rounds, so that a resumed run moves as an unbroken one."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from common.errors import ReleaseError
from common.files import write_whole

SEPARATOR = "/"
FACTS = "optimisers"


def save_optimisers(path: Path, optimisers: Mapping[str, torch.optim.Optimizer]) -> None:
    """Write the state of every optimiser to `path`: aside, fsync, rename; equal states give equal bytes.

    Args:
        optimisers: by name; parameters are known by their position in the optimiser.
    Raises:
        GliofedError: where the file cannot be written; nothing stays behind.
    """
    tensors: dict[str, Tensor] = {}
    facts: dict[str, Any] = {}
    for name, optimiser in sorted(optimisers.items()):
        state = optimiser.state_dict()
        facts[name] = {"groups": state["param_groups"], "numbers": {}}
        for position, entries in sorted(state["state"].items()):
            for key, value in sorted(entries.items()):
                full = SEPARATOR.join((name, str(position), key))
                if isinstance(value, Tensor):
                    tensors[full] = value.detach().cpu().contiguous()
                else:
                    facts[name]["numbers"][full] = value
    write_whole(path, save(tensors, {FACTS: json.dumps(facts, sort_keys=True)}))


def load_optimisers(path: Path, optimisers: Mapping[str, torch.optim.Optimizer]) -> None:
    """Give every optimiser the state that `save_optimisers` wrote.

    Raises:
        ReleaseError: where the file is missing, damaged, or of optimisers with other names or parameters.
    """
    try:
        with safe_open(path, framework="pt") as file:
            facts = json.loads(file.metadata()[FACTS])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
        if set(facts) != set(optimisers):
            raise ValueError(f"holds {sorted(facts)}, expected {sorted(optimisers)}")
        for name, optimiser in optimisers.items():
            _restore(name, optimiser, facts[name], tensors)
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise ReleaseError(
            f"{path}: optimiser state cannot be used ({error}); delete it to start the round with a fresh optimiser"
        ) from None


def _restore(
    name: str, optimiser: torch.optim.Optimizer, facts: Mapping[str, Any], tensors: Mapping[str, Tensor]
) -> None:
    state: dict[int, dict[str, Any]] = {}
    for full, value in {**facts["numbers"], **tensors}.items():
        owner, position, key = full.rsplit(SEPARATOR, 2)
        if owner == name:
            state.setdefault(int(position), {})[key] = value
    parameters = [parameter for group in optimiser.param_groups for parameter in group["params"]]
    for position, entries in state.items():
        for key, value in entries.items():
            if isinstance(value, Tensor) and value.dim() and value.shape != parameters[position].shape:
                raise ValueError(
                    f"{name}, parameter {position}, {key}: shape {tuple(value.shape)} does not fit the model"
                )
            if isinstance(value, Tensor) and value.dim():
                # A fused optimiser wants its state laid out as the parameter is (channels-last on a GPU).
                entries[key] = torch.empty_like(parameters[position], dtype=value.dtype, device="cpu").copy_(value)
    optimiser.load_state_dict({"state": state, "param_groups": facts["groups"]})
