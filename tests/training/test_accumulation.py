"""A batch in parts gives the whole batch's step; memory's end and losses without a number are answered."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn

from client.training.accumulation import Term, minimise
from client.training.row_budget import OutOfMemoryError, RowBudget, within
from client.training.trainer import NonFiniteLossError


@dataclass(frozen=True)
class Rows:
    """Points x (B, 2), wanted values y (B, 1), and how much each row weighs (B, 1)."""

    x: Tensor
    y: Tensor
    weight: Tensor


def rows(count: int = 7) -> Rows:
    generator = torch.Generator().manual_seed(4)
    x, y = torch.randn(count, 2, generator=generator), torch.randn(count, 1, generator=generator)
    return Rows(x, y, torch.arange(count).float()[:, None])


class Line:
    """A linear model with a plain and a weighted mean error, and the ways in which it can fail."""

    def __init__(self, largest: int = 99, error: Callable[[], Exception] = torch.OutOfMemoryError) -> None:
        torch.manual_seed(0)
        self.model = nn.Linear(2, 1)
        self.optimiser = torch.optim.SGD(self.model.parameters(), lr=0.1)
        self.largest, self.error, self.seen = largest, error, []

    def terms(self, part: Rows) -> dict[str, Term]:
        self.seen.append(len(part.x))
        if len(part.x) > self.largest:
            raise self.error()
        error = (self.model(part.x) - part.y).square()
        mass = part.weight.sum()
        weighted = (part.weight * error).sum() / mass if mass > 0 else torch.zeros(())
        return {"plain": Term(error.mean()), "weighted": Term(weighted, 3.0)}

    def step(self, batch: Rows) -> dict[str, float]:
        return minimise(self.terms, batch, self.optimiser, masses=lambda part: {"weighted": float(part.weight.sum())})


def moved(line: Line) -> Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in line.model.parameters()])


@pytest.fixture
def heard() -> Iterator[list[str]]:
    """The warnings of our own logger, which pytest's handler may not reach."""
    said: list[str] = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: said.append(record.getMessage())  # type: ignore[method-assign]
    log = logging.getLogger("gliofed.client.training.row_budget")
    log.addHandler(handler)
    yield said
    log.removeHandler(handler)


@pytest.mark.parametrize("at_once", [1, 2, 3, 6])
def test_parts_move_the_model_as_the_whole_batch_does(at_once: int) -> None:
    whole, parted = Line(), Line()
    expected = whole.step(rows())
    with within(RowBudget(at_once)):
        found = parted.step(rows())
    assert parted.seen == [min(at_once, 7 - first) for first in range(0, 7, at_once)]
    assert found == pytest.approx(expected, rel=1e-6)
    assert torch.allclose(moved(parted), moved(whole), atol=1e-6)


def test_a_budget_that_holds_the_batch_changes_no_bit() -> None:
    plain, roomy = Line(), Line()
    expected = plain.step(rows())
    with within(RowBudget(64)):
        assert roomy.step(rows()) == expected
    assert torch.equal(moved(plain), moved(roomy))


def out_of_cpu_memory() -> Exception:
    return RuntimeError("[enforce fail at alloc_cpu.cpp:124] DefaultCPUAllocator: can't allocate memory: you tried …")


@pytest.mark.parametrize("error", [torch.OutOfMemoryError, MemoryError, out_of_cpu_memory])
def test_where_memory_ends_the_same_batch_is_retried_in_halves_and_the_size_is_remembered(error, heard) -> None:
    roomy, tight = Line(), Line(largest=2, error=error)
    roomy.step(rows())
    budget = RowBudget()
    with within(budget):
        tight.step(rows())
        assert torch.allclose(moved(tight), moved(roomy), atol=1e-6)
        assert (tight.seen, budget.rows) == ([7, 3, 1, 1, 1, 1, 1, 1, 1], 1)
        tight.seen.clear()
        tight.step(rows())
    assert tight.seen == [1] * 7
    assert heard == [
        "out of memory with 7 rows at once; going on with 3, gradients summed",
        "out of memory with 3 rows at once; going on with 1, gradients summed",
    ]


def test_a_row_that_does_not_fit_alone_is_refused_and_moves_nothing() -> None:
    line = Line(largest=0)
    before = moved(line)
    with within(RowBudget()), pytest.raises(OutOfMemoryError, match="single slice") as caught:
        line.step(rows())
    assert caught.value.code == "out-of-memory"
    assert torch.equal(moved(line), before)


def test_any_other_error_is_passed_on() -> None:
    line = Line(largest=2, error=lambda: RuntimeError("shapes do not fit"))
    with pytest.raises(RuntimeError, match="shapes do not fit"):
        line.step(rows())
    assert line.seen == [7]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_in_the_last_part_stops_before_the_optimiser(value: float) -> None:
    line, batch = Line(), rows()
    batch.y[-1] = value
    before = moved(line)
    with within(RowBudget(2)), pytest.raises(NonFiniteLossError, match="plain"):
        line.step(batch)
    assert torch.equal(moved(line), before)


def test_a_part_without_mass_counts_for_nothing() -> None:
    line, batch = Line(), rows()
    batch.weight[:] = 0
    with within(RowBudget(3)):
        assert line.step(batch)["weighted"] == 0.0


def test_a_batch_from_which_nothing_can_be_learnt_moves_nothing() -> None:
    line = Line()
    before = moved(line)
    with within(RowBudget(3)):
        assert minimise(lambda part: {"loss": Term(torch.zeros(()))}, rows(), line.optimiser) == {"loss": 0.0}
    assert torch.equal(moved(line), before)
