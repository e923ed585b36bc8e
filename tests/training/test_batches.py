"""Batches are counted, cut and moved, whatever they are made of."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from client.training.batches import cut, move, rows_in
from common.sequences import Sequence


@dataclass(frozen=True)
class Inner:
    masks: Tensor


@dataclass(frozen=True)
class Outer:
    images: dict[Sequence, Tensor]
    inner: Inner
    size: int = 3


def outer(masks: int = 4) -> Outer:
    return Outer({Sequence.T1: torch.arange(4.0)[:, None]}, Inner(torch.arange(masks)))


def test_the_parts_of_a_batch_are_the_batch() -> None:
    batch = outer()
    assert rows_in(batch) == 4
    first, last = cut(batch, 0, 3), cut(batch, 3, 6)
    assert (rows_in(first), rows_in(last)) == (3, 1)
    assert torch.equal(torch.cat([first.inner.masks, last.inner.masks]), batch.inner.masks)
    assert torch.equal(last.images[Sequence.T1], torch.tensor([[3.0]]))
    assert first.size == 3


def test_a_batch_moves_with_all_that_is_in_it() -> None:
    moved = move(outer(), torch.device("meta"))
    assert moved.images[Sequence.T1].device.type == moved.inner.masks.device.type == "meta"


def test_tensors_of_unequal_length_are_no_batch() -> None:
    with pytest.raises(ValueError, match=r"\[3, 4\] rows"):
        rows_in(outer(masks=3))
