"""One optimiser step whose batch may be larger than memory: rows in parts, gradients summed, memory's end answered.

Where what a compiler wrote fails, on the way back above all, the gradient is found once more by the plain network.

A step states its losses as terms, each a mean over something (rows, weighted pixels), and the mass of each mean. A
part's term then counts with its share of the whole batch's mass, so that the summed gradient is the whole batch's, to
rounding, wherever a term is a mean over rows. It is an approximation, stated here, where a term mixes rows: soft Dice
over the batch (parts have Dice values of their own) and batch norm (parts have statistics of their own). R1 and all
means of per-row errors are exact.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

from client.compilation import stop_compiling
from client.memory import is_shortage
from client.training.batches import cut, rows_in
from client.training.row_budget import current_budget
from client.training.trainer import take_step

Batch = TypeVar("Batch")


@dataclass(frozen=True)
class Term:
    """One term of a loss: a scalar mean, and its weight in the sum; None where it is reported and not minimised."""

    value: Tensor
    weight: float | None = 1.0


def weighted_sum(terms: Mapping[str, Term]) -> Tensor:
    """Return the loss that the terms make up."""
    return torch.stack([term.weight * term.value for term in terms.values() if term.weight is not None]).sum()


Losses = Callable[[Batch], Mapping[str, Term]]
Masses = Callable[[Batch], Mapping[str, float]]


def minimise(
    losses: Losses[Batch],
    batch: Batch,
    optimiser: torch.optim.Optimizer,
    masses: Masses[Batch] | None = None,
    clip_norm: float | None = 1.0,
) -> dict[str, float]:
    """Move `optimiser` down the gradient of the weighted sum of a batch's terms, in as many parts as memory asks for.

    A try that fails for want of memory, or in what a compiler wrote, moves nothing and is repeated.

    Args:
        losses: terms of a batch or of a part of it.
        batch: dataclass of tensors whose first axis counts rows.
        masses: per term what its mean divides by, for a batch or a part; the rows where it says nothing.
        clip_norm: largest norm of the whole gradient; None leaves it alone.
    Returns:
        `loss`, the weighted sum, and each term's mean over the batch.
    Raises:
        NonFiniteLossError: before the optimiser moves.
        OutOfMemoryError: where one row alone does not fit.
    """
    budget = current_budget()
    total = rows_in(batch)
    while True:
        rows = min(budget.rows or total, total)
        try:
            return _in_parts(losses, batch, rows, optimiser, masses, clip_norm)
        except (MemoryError, RuntimeError) as error:
            short = is_shortage(error)
            if not short and not stop_compiling(error):
                raise
            # Its traceback would keep the activations of the forward pass alive.
            error.__traceback__ = None
        optimiser.zero_grad(set_to_none=True)
        # Another object: what a step remembers of a batch belongs to the try that failed.
        batch = cut(batch, 0, total)
        if short:
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
            budget.after_shortage(rows)


def _in_parts(
    losses: Losses[Batch],
    batch: Batch,
    rows: int,
    optimiser: torch.optim.Optimizer,
    masses: Masses[Batch] | None,
    clip_norm: float | None,
) -> dict[str, float]:
    """Sum the gradient over parts of at most `rows` rows, then move the optimiser once."""
    total = rows_in(batch)
    optimiser.zero_grad(set_to_none=True)
    found: dict[str, Tensor] = {}
    for first in range(0, total, rows):
        part = batch if rows >= total else cut(batch, first, first + rows)
        terms = losses(part)
        shares = dict.fromkeys(terms, 1.0) if part is batch else _shares(part, batch, terms, masses)
        weighed = [(shares[name] * term.weight, term.value) for name, term in terms.items() if term.weight is not None]
        loss = torch.stack([weight * value for weight, value in weighed]).sum()
        if loss.requires_grad:
            loss.backward()  # type: ignore[no-untyped-call]
        for name, value in {"loss": loss, **{name: shares[name] * term.value for name, term in terms.items()}}.items():
            found[name] = found.get(name, 0.0) + value.detach()
    return take_step(optimiser, found, clip_norm)


def _shares(part: Batch, whole: Batch, names: Iterable[str], masses: Masses[Batch] | None) -> dict[str, float]:
    """Return, per term, the part's mass over the whole batch's; zero where the batch has none."""
    of_part, of_whole = (dict(masses(each)) if masses else {} for each in (part, whole))
    rows = rows_in(part) / rows_in(whole)
    return {
        name: (of_part[name] / of_whole[name] if of_whole[name] else 0.0) if name in of_whole else rows
        for name in names
    }
