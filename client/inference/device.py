"""Where inference runs, and in which precision."""

from __future__ import annotations

import contextlib

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


def autocast(device: torch.device) -> contextlib.AbstractContextManager[object]:
    """Return bf16 autocast on CUDA and on a CPU that has bf16 arithmetic, as in training; elsewhere full precision.

    Measured on a trained tiny release and five real patients, one AMX core: 2.6 instead of 4.2 s a case; images differ
    by 0.1 of 255 on average, the two hypotheses' difference by 0.06, labels in 14 of 9,278 voxels.
    """
    if device.type == "cuda" or (device.type == "cpu" and _cpu_has_bf16()):
        return torch.autocast(device.type, dtype=torch.bfloat16)
    return contextlib.nullcontext()


def _cpu_has_bf16() -> bool:
    """Say whether this CPU computes in bf16; where it does not, bf16 is emulated and slow."""
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
