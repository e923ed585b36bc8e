"""What is counted instead of timed: parameters, floating-point operations, the memory that a training step keeps."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode


def count_parameters(model: nn.Module) -> int:
    """Return how many numbers a model learns."""
    return sum(parameter.numel() for parameter in model.parameters())


def count_flops(work: Callable[[], object]) -> int:
    """Do the work and return the floating-point operations of its convolutions and matrix products, two a
    multiplication with addition; a backward pass inside it counts, norms and activations do not."""
    counter = FlopCounterMode(display=False)
    counter.mod_tracker = cast(Any, _WholeModel())
    with counter:
        work()
    return int(counter.get_total_flops())


class _WholeModel(nullcontext[None]):
    """Counts for the model as a whole: telling its parts apart fails where a gradient is differentiated again (R1)."""

    parents = frozenset({"Global"})


@dataclass(frozen=True)
class StepCounts:
    """What one training step takes.

    Attributes:
        flops: operations, as `count_flops` counts them.
        memory_bytes: what must be held at once: weights, gradients, the optimisers' state, and the most that autograd
            kept for backward passes at any moment. Working space of single operations is not in it.
    """

    flops: int
    memory_bytes: int


def count_step(model: nn.Module, optimisers: Iterable[torch.optim.Optimizer], work: Callable[[], object]) -> StepCounts:
    """Do one step's work and count what it takes."""
    kept = KeptActivations(model)
    with torch.autograd.graph.saved_tensors_hooks(kept.keep, kept.give):
        flops = count_flops(work)
    tensors = [*model.parameters(), *model.buffers()]
    tensors += [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    for optimiser in optimisers:
        tensors += [value for state in optimiser.state.values() for value in state.values() if torch.is_tensor(value)]
    return StepCounts(flops, kept.most + sum(tensor.numel() * tensor.element_size() for tensor in tensors))


@dataclass
class _Kept:
    """A tensor that autograd keeps; its end is the end of the node that asked for it."""

    tensor: Tensor
    key: int
    ledger: KeptActivations

    def __del__(self) -> None:
        self.ledger.release(self.key)


class KeptActivations:
    """Bytes that autograd keeps: each storage once, however many nodes ask for it, the model's own weights never.

    Attributes:
        most: the largest sum at any moment.
    """

    def __init__(self, model: nn.Module) -> None:
        self._own = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
        self._holders: dict[int, int] = {}
        self._bytes: dict[int, int] = {}
        self.most = 0

    def keep(self, tensor: Tensor) -> Tensor | _Kept:
        """Take note of a tensor that is kept; the hook that packs."""
        storage = tensor.untyped_storage()
        key = storage.data_ptr()
        if key in self._own:
            return tensor
        self._holders[key] = self._holders.get(key, 0) + 1
        self._bytes[key] = storage.nbytes()
        self.most = max(self.most, sum(self._bytes.values()))
        return _Kept(tensor, key, self)

    def give(self, kept: Tensor | _Kept) -> Tensor:
        """Return the tensor; the hook that unpacks."""
        return kept.tensor if isinstance(kept, _Kept) else kept

    def release(self, key: int) -> None:
        """Forget one holder of a storage, and the storage with its last."""
        self._holders[key] -= 1
        if not self._holders[key]:
            del self._holders[key], self._bytes[key]
