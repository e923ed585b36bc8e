"""Where inference runs."""

from __future__ import annotations

import torch
from torch import nn


def choose_device() -> torch.device:
    """Return the first CUDA device where there is one, else the CPU."""
    return torch.device("cuda", 0) if torch.cuda.is_available() else torch.device("cpu")


def device_of(model: object) -> torch.device:
    """Return the device of a module's first parameter, the CPU for a model without any."""
    parameters = model.parameters() if isinstance(model, nn.Module) else iter(())
    first = next(parameters, None)
    return torch.device("cpu") if first is None else first.device
