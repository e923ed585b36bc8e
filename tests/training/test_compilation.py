"""Compiling changes no name and no number, and its failure stops nothing."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import pytest
import torch
from torch import nn

from client.compilation import (
    compile_parts,
    compiles,
    lay_out_channels_last,
    make_ready,
)
from client.training.accumulation import Term, minimise
from client.training.trainer import fit

CPU, GPU = torch.device("cpu"), torch.device("cuda")


class Net(nn.Module):
    """A network small enough to be traced at once."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(1, 2, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.convolution(x).relu()


def net() -> Net:
    torch.manual_seed(0)
    return Net()


class Pair(nn.Module):
    COMPILED_PARTS = ("drawer",)

    def __init__(self) -> None:
        super().__init__()
        self.drawer, self.judge = net(), net()


def refuse(graph: object, inputs: object) -> object:
    raise RuntimeError("no compiler here")


@pytest.fixture
def said():
    heard: list[str] = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: heard.append(record.getMessage())
    log = logging.getLogger("gliofed.client.compilation")
    log.addHandler(handler)
    yield heard
    log.removeHandler(handler)
    torch._dynamo.reset()


def test_networks_are_compiled_on_a_gpu_unless_the_site_says_otherwise() -> None:
    assert compiles("auto", GPU) and not compiles("auto", CPU)
    assert compiles("on", CPU) and not compiles("off", GPU)


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")  # the compiler's own
def test_a_model_is_made_ready_by_compiling_where_the_site_asks_for_it() -> None:
    plain, compiled = Pair(), Pair()
    make_ready(plain, CPU)
    make_ready(compiled, CPU, "on")
    assert [part._compiled_call_impl is not None for part in (plain.drawer, compiled.drawer)] == [False, True]


def test_a_compiled_network_keeps_names_and_numbers(said) -> None:
    plain, compiled = net(), net()
    seen: list[int] = []
    compile_parts(compiled, backend=lambda graph, inputs: seen.append(1) or graph.forward)
    x = torch.randn(2, 1, 8, 8)
    assert torch.equal(compiled(x), plain(x))
    assert seen and list(compiled.state_dict()) == list(plain.state_dict())


def test_only_the_parts_that_a_model_names_are_compiled(said) -> None:
    seen: list[int] = []
    model = Pair()
    compile_parts(model, backend=lambda graph, inputs: seen.append(1) or graph.forward)
    model.judge(torch.zeros(1, 1, 8, 8))
    assert not seen
    model.drawer(torch.zeros(1, 1, 8, 8))
    assert seen


def test_where_compiling_fails_training_goes_on_without_and_says_so_once(said) -> None:
    class Step:
        def __init__(self) -> None:
            self.model, self.optimisers = net(), {}

        def __call__(self, batch: torch.Tensor) -> dict[str, float]:
            return {"loss": float(self.model(batch).sum().detach())}

    step, losses = Step(), []
    compile_parts(step.model, backend=refuse)
    x = torch.ones(1, 1, 8, 8)
    fit(step, [x, x], lambda number, found: losses.append(found["loss"]))
    assert losses == [float(net()(x).sum().detach())] * 2
    (line,) = said
    assert line.startswith("compiled networks do not run here (BackendCompilerFailed: ")


def test_where_a_compiled_network_fails_when_it_runs_the_plain_one_goes_on(said) -> None:
    def broken(*inputs: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("view size is not compatible")

    model, x = net(), torch.ones(1, 1, 8, 8)
    compile_parts(model, backend=lambda graph, inputs: broken)
    assert torch.equal(model(x), net()(x))
    assert said == ["compiled networks do not run here (RuntimeError: view size is not compatible); going on without"]


def test_a_compiled_network_that_only_draws_answers_by_itself_when_it_fails(said) -> None:
    model, x = net(), torch.ones(1, 1, 8, 8)
    compile_parts(model, backend=refuse)
    with torch.inference_mode():
        assert torch.equal(model(x), net()(x)) and torch.equal(model(x), net()(x))
    assert len(said) == 1


def test_the_end_of_memory_is_no_failure_to_compile(said) -> None:
    def exhausted(*inputs: torch.Tensor) -> torch.Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory")

    model = net()
    compile_parts(model, backend=lambda graph, inputs: exhausted)
    with pytest.raises(torch.OutOfMemoryError):
        model(torch.ones(1, 1, 8, 8))
    assert not said and model._compiled_call_impl is not None


def test_an_error_that_is_not_the_compilers_comes_back_from_the_plain_network(said) -> None:
    model = net()
    compile_parts(model, backend=lambda graph, inputs: graph.forward)
    with pytest.raises(RuntimeError, match="channels"):
        model(torch.ones(1, 5, 8, 8))


class NoWayBack(torch.autograd.Function):
    """What a compiler wrote, right on the way there and broken on the way back."""

    @staticmethod
    def forward(ctx: object, x: torch.Tensor) -> torch.Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: object, *gradient: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("the gradient is laid out otherwise")


@dataclass(frozen=True)
class Pictures:
    x: torch.Tensor


class Duel:
    """A judge that moves before the drawer, both on one drawing that is kept for the same batch, as in the GAN."""

    def __init__(self) -> None:
        self.model = Pair()
        self.optimisers = {
            name: torch.optim.SGD(getattr(self.model, name).parameters(), lr=0.1) for name in ("judge", "drawer")
        }
        self.kept: tuple[Pictures, torch.Tensor] | None = None

    def drawn(self, batch: Pictures) -> torch.Tensor:
        if self.kept is None or self.kept[0] is not batch:
            self.kept = batch, self.model.drawer(batch.x)
        return self.kept[1]

    def __call__(self, batch: Pictures) -> dict[str, float]:
        judged = lambda part: {"judged": Term(self.model.judge(self.drawn(part).detach()[:, :1]).mean())}  # noqa: E731
        minimise(judged, batch, self.optimisers["judge"])
        return minimise(lambda part: {"drawn": Term(self.drawn(part).mean())}, batch, self.optimisers["drawer"])


def test_a_broken_way_back_is_gone_again_without_moving_the_judge_twice(said) -> None:
    plain, broken = Duel(), Duel()
    compile_parts(broken.model, backend=lambda graph, inputs: lambda *a: [NoWayBack.apply(graph.forward(*a)[0])])
    batches = [Pictures(torch.rand(2, 1, 8, 8, generator=torch.Generator().manual_seed(seed))) for seed in (1, 2)]
    for duel in (plain, broken):
        fit(duel, batches, lambda number, losses: None)
    assert said == [
        "compiled networks do not run here (RuntimeError: the gradient is laid out otherwise); going on without"
    ]
    assert all(torch.equal(a, b) for a, b in zip(plain.model.parameters(), broken.model.parameters(), strict=True))


def test_an_error_of_a_loss_is_no_failure_to_compile() -> None:
    optimiser = torch.optim.SGD(net().parameters(), lr=0.1)
    with pytest.raises(ZeroDivisionError):
        minimise(lambda part: {"loss": Term(torch.ones(()) * (1 // 0))}, Pictures(torch.ones(1, 1)), optimiser)


def test_channels_last_changes_the_layout_and_no_value() -> None:
    model, plain = net(), net()
    lay_out_channels_last(model)
    assert model.convolution.weight.is_contiguous(memory_format=torch.channels_last)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), plain.parameters(), strict=True))
