"""Laws of remembered fills."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from client.data.dataset import CaseStore
from client.memory import memory_bytes
from client.training import fill_memo
from client.training.fill_memo import FillKey, FillMemo
from client.training.filled_inputs import Filler, stack_of, weights_digest
from common.sequences import STRUCTURAL, Domain

T1, T1GD, T2, FLAIR = STRUCTURAL


class CountingGenerator(nn.Module):
    """Counts the slices that it is asked for."""

    domains = (Domain("a", T1), Domain("b", T2), Domain("a", T2))

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))
        self.asked = 0

    def translate(self, image: Tensor, target: Tensor) -> Tensor:
        self.asked += len(image)
        return image * self.weight


def _key(number: int) -> FillKey:
    return FillKey("g", "c", number, T1, Domain("a", T2))


def test_the_memo_forgets_what_was_used_longest_ago() -> None:
    memo = FillMemo(limit_bytes=2 * 8)
    for number in (0, 1):
        memo.keep(_key(number), torch.zeros(4, dtype=torch.float16))
    assert memo.recall(_key(0)) is not None
    memo.keep(_key(2), torch.zeros(4, dtype=torch.float16))
    assert [memo.recall(_key(number)) is not None for number in (0, 1, 2)] == [True, False, True]


@pytest.mark.parametrize(("memory_gib", "limit_gib"), [(0, 0.25), (1, 0.25), (128, 16)])
def test_the_memo_takes_an_eighth_of_the_memory_and_never_less_than_before(
    monkeypatch: pytest.MonkeyPatch, memory_gib: int, limit_gib: float
) -> None:
    monkeypatch.setattr(fill_memo, "memory_bytes", lambda: memory_gib * 2**30)
    assert FillMemo().limit_bytes == limit_gib * 2**30


@pytest.mark.parametrize(("name", "text", "limit"), [("memory.max", "4096\n", 4096), ("memory.max", "max\n", None)])
def test_a_containers_limit_is_the_machines_memory(tmp_path: Path, name: str, text: str, limit: int | None) -> None:
    whole = memory_bytes(tmp_path)
    assert whole > 2**28
    (tmp_path / name).write_text(text)
    assert memory_bytes(tmp_path) == (limit or whole)


def test_a_slice_is_drawn_once_and_a_forgetful_memo_gives_the_same_values(make_case) -> None:
    store = CaseStore([make_case("p", (T1, FLAIR))], STRUCTURAL)
    generator = CountingGenerator()
    batch = store.take([(0, 1), (0, 2), (0, 1)])
    remembering, forgetting = Filler(generator, "a", "a", FillMemo()), Filler(generator, "a", "a", FillMemo(0))
    first = remembering.fill(store, batch, batch.present, (T1, T2))
    assert generator.asked == 3  # the batch itself repeats a slice before anything is remembered
    remembering.fill(store, batch, batch.present, (T1, T2))
    assert generator.asked == 3
    again = forgetting.fill(store, batch, batch.present, (T1, T2))
    assert generator.asked == 6
    assert torch.equal(stack_of(first, (T1, T2)), stack_of(again, (T1, T2)))


def test_other_weights_are_another_generator() -> None:
    generator = CountingGenerator()
    before = weights_digest(generator)
    assert before == weights_digest(CountingGenerator())
    with torch.no_grad():
        generator.weight += 1
    assert weights_digest(generator) != before


def test_what_no_domain_can_draw_stays_background(make_case) -> None:
    store = CaseStore([make_case("p", (T2,))], STRUCTURAL)
    batch = store.take([(0, 1)])
    filled = Filler(CountingGenerator(), "a", "a", FillMemo()).fill(store, batch, batch.present, (FLAIR,))
    assert bool((filled.images[FLAIR] == -1).all())
