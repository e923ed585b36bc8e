"""Explicit random generators, derived by name from one seed, and the deterministic CPU mode."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import torch


def derive_seed(seed: int, *names: str | int) -> int:
    """Return a 63-bit seed for the stream called `names`; other names give independent streams."""
    text = "\x1f".join(str(name) for name in (seed, *names))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def torch_generator(seed: int, *names: str | int, device: str = "cpu") -> torch.Generator:
    """Return a torch generator for the stream called `names`."""
    import torch

    return torch.Generator(device=device).manual_seed(derive_seed(seed, *names))


def numpy_generator(seed: int, *names: str | int) -> np.random.Generator:
    """Return a NumPy generator for the stream called `names`."""
    import numpy as np

    return np.random.default_rng(derive_seed(seed, *names))


@contextmanager
def deterministic_on_cpu(device: torch.device) -> Iterator[None]:
    """Refuse, inside the context, operations whose bytes depend on the order of threads, where `device` is a CPU.

    A GPU is left alone: there the bytes of a round may differ, its deterministic algorithms being slow or missing.
    Raises RuntimeError from such an operation.
    """
    import torch

    if device.type != "cpu":
        yield
        return
    settings: Any = torch.utils.deterministic
    strict, filled = torch.are_deterministic_algorithms_enabled(), settings.fill_uninitialized_memory
    _refuse_disorder(True)
    settings.fill_uninitialized_memory = False  # it would write every new tensor twice
    try:
        yield
    finally:
        _refuse_disorder(strict)
        settings.fill_uninitialized_memory = filled


def _refuse_disorder(strict: bool) -> None:
    """Do as `torch.use_deterministic_algorithms`, which imports the compiler, would: seconds, in each new process."""
    import torch

    if "torch._inductor" in sys.modules:
        torch.use_deterministic_algorithms(strict)
    else:
        torch._C._set_deterministic_algorithms(strict, warn_only=False)
