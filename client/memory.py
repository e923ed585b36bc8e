"""The machine's memory: whether an error says that it ran out."""

from __future__ import annotations

import torch

SHORTAGE = ("can't allocate memory", "cannot allocate memory", "not enough memory", "out of memory")


def is_shortage(error: BaseException) -> bool:
    """Whether an error says that memory ran out, on a GPU or on a CPU, whose errors torch tells by their text alone."""
    known = isinstance(error, torch.OutOfMemoryError | MemoryError)
    return known or any(text in str(error).lower() for text in SHORTAGE)
