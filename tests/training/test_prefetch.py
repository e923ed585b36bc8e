"""Drawing ahead changes when a batch is drawn, and nothing else."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
import torch

from client.precision import computing_in, half_precision
from client.training.prefetch import drawn_ahead, prefetches

CPU = torch.device("cpu")


def random_batches(count: int) -> Iterator[float]:
    generator = torch.Generator().manual_seed(1)
    for _ in range(count):
        yield float(torch.rand((), generator=generator))


def drawing() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "drawing batches"]


@pytest.mark.parametrize("depth", [1, 3, 50])
def test_the_batches_and_their_order_are_the_same(depth: int) -> None:
    with drawn_ahead(random_batches(20), depth) as ahead:
        assert list(ahead) == list(random_batches(20))
    assert not drawing()


def test_no_more_are_drawn_than_the_depth_allows() -> None:
    drawn: list[int] = []
    reached = threading.Event()

    def counted() -> Iterator[int]:
        for number in range(100):
            drawn.append(number)
            if number == 3:
                reached.set()
            yield number

    with drawn_ahead(counted(), depth=2) as ahead:
        next(ahead)
        assert reached.wait(5)  # one taken, two waiting, one in the thread's hand
    assert len(drawn) <= 4


def test_an_error_comes_out_where_its_batch_is_asked_for() -> None:
    def failing() -> Iterator[int]:
        yield 1
        raise ValueError("no case of this site fits")

    with drawn_ahead(failing()) as ahead:
        assert next(ahead) == 1
        with pytest.raises(ValueError, match="no case"):
            next(ahead)
    assert not drawing()


def test_the_thread_ends_with_a_loop_that_raises() -> None:
    with pytest.raises(KeyError), drawn_ahead(random_batches(10**9), depth=1) as ahead:
        next(ahead)
        raise KeyError
    assert not drawing()


def test_the_thread_computes_in_the_precision_of_who_opened_it() -> None:
    def precisions() -> Iterator[bool]:
        with half_precision(CPU):
            yield torch.is_autocast_enabled("cpu")

    with computing_in("fp32"), drawn_ahead(precisions()) as ahead:
        assert list(ahead) == [False]


def test_batches_are_drawn_ahead_beside_a_gpu_unless_the_site_says_otherwise() -> None:
    assert [prefetches("auto", torch.device(kind)) for kind in ("cuda", "cpu")] == [True, False]
    assert prefetches("on", CPU) and not prefetches("off", torch.device("cuda"))
