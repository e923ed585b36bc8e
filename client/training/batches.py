"""Batches as frozen dataclasses of tensors whose first axis counts rows: counted, cut, and moved to a device."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, is_dataclass, replace
from typing import Any, TypeVar, cast

import torch
from torch import Tensor

Batch = TypeVar("Batch")


def rows_in(batch: object) -> int:
    """Return how many rows a batch has. Raises ValueError where its tensors disagree, or where it has none."""
    counts = {len(tensor) for tensor in _tensors(batch)}
    if len(counts) != 1:
        raise ValueError(f"a batch of {type(batch).__name__} has tensors of {sorted(counts)} rows; it needs one count")
    return counts.pop()


def cut(batch: Batch, first: int, last: int) -> Batch:
    """Return rows `first` … `last - 1` of every tensor of the batch, as views."""
    return _each(batch, lambda tensor: tensor[first:last])


def move(batch: Batch, device: torch.device) -> Batch:
    """Return the batch on `device`.

    To CUDA it goes through pinned memory and without waiting. All streams are left as they are: a batch that is drawn
    in another thread is copied on the same default stream as the step's kernels, hence in order.
    """
    if device.type == "cuda":
        return _each(batch, lambda tensor: tensor.pin_memory().to(device, non_blocking=True))
    return _each(batch, lambda tensor: tensor.to(device))


def _each(value: Batch, change: Callable[[Tensor], Tensor]) -> Batch:
    """Apply `change` to every tensor of nested dataclasses and mappings; leave the rest as it is."""
    changed: Any = value
    if isinstance(value, Tensor):
        changed = change(value)
    elif isinstance(value, Mapping):
        changed = {key: _each(entry, change) for key, entry in value.items()}
    elif is_dataclass(value) and not isinstance(value, type):
        changed = replace(value, **{field.name: _each(getattr(value, field.name), change) for field in fields(value)})
    return cast(Batch, changed)


def _tensors(value: object) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping):
        for entry in value.values():
            yield from _tensors(entry)
    elif is_dataclass(value) and not isinstance(value, type):
        for field in fields(value):
            yield from _tensors(getattr(value, field.name))
