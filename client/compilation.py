"""Compiled networks, and the way back to plain ones where a compiler is missing or fails."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Literal

import torch
from torch import nn

from client.memory import is_shortage
from common.logs import logger

log = logger(__name__)

Wish = Literal["auto", "on", "off"]


def make_ready(model: nn.Module, device: torch.device, wish: Wish = "auto") -> None:
    """Move a model to a device, into the form in which it trains and draws there; state and names stay.

    Weights lie channels-last on CUDA, and networks are compiled where `wish` says so.
    """
    model.to(device)
    channels_last_on_cuda(model, device)
    if compiles(wish, device):
        compile_parts(model)


def compiles(wish: Wish, device: torch.device) -> bool:
    """Say whether a site's networks are compiled: as wished, and by default on a GPU only.

    On a CPU a paper-size network took minutes to compile and was no faster afterwards.
    """
    return wish == "on" or (wish == "auto" and device.type == "cuda")


def compile_parts(model: nn.Module, backend: str | Callable[..., object] = "inductor") -> None:
    """Compile the networks of a stage's model in place, at their first call; its state keeps its names.

    A model that names them in `COMPILED_PARTS` has those children compiled, any other is compiled whole. A network
    whose gradient is differentiated again (a discriminator under R1) cannot be compiled. A call in which compiling
    fails, or what it wrote, is answered by the plain network, as are all that follow.
    """
    for part in _parts(model):
        part.compile(backend=backend)
        part._compiled_call_impl = _plain_where_it_fails(part)


_trained: ContextVar[nn.Module | None] = ContextVar("trained_model", default=None)


@contextmanager
def training(model: nn.Module) -> Iterator[None]:
    """Let every `minimise` inside the context give up compiling `model` where its compiled networks fail."""
    token = _trained.set(model)
    try:
        yield
    finally:
        _trained.reset(token)


def stop_compiling(error: BaseException) -> bool:
    """Run the model that is trained plainly from now on; return whether any of it was compiled, and may have failed.

    Compilers fail while they compile, and as ordinary errors when what they wrote is run: a gradient laid out otherwise
    than they had assumed, for example. An error that is not theirs comes back from the second try.
    """
    model = _trained.get()
    return isinstance(error, RuntimeError) and model is not None and _give_up(_parts(model), error)


def _plain_where_it_fails(part: nn.Module) -> Callable[..., Any]:
    """Return the compiled call of `part`, which falls back on the plain one; the way back is `minimise`'s to repeat."""
    compiled = part._compiled_call_impl
    assert compiled is not None, "the part was compiled"  # noqa: S101

    def call(*inputs: Any, **named: Any) -> Any:
        try:
            return compiled(*inputs, **named)
        except RuntimeError as error:
            if is_shortage(error):
                raise
            _give_up([part], error)
        return part(*inputs, **named)

    return call


def _give_up(parts: Iterable[nn.Module], error: RuntimeError) -> bool:
    """Run those of `parts` that are compiled without that from now on and say so; return whether there were any."""
    compiled = [part for part in parts if part._compiled_call_impl is not None]
    if compiled:
        reason = str(error).partition("\n")[0]
        log.warning("compiled networks do not run here (%s: %s); going on without", type(error).__name__, reason)
    for part in compiled:
        part._compiled_call_impl = None
    return bool(compiled)


def channels_last_on_cuda(model: nn.Module, device: torch.device) -> None:
    """Lay the model's convolution weights out channels-last on CUDA, and its maps with them.

    On a CPU a network chooses for itself: channels-last pays there only where all its norms are fast in it.
    """
    if device.type == "cuda":
        lay_out_channels_last(model)


def lay_out_channels_last(model: nn.Module) -> None:
    """Give every weight of four axes the channels-last layout; values, shapes and names stay."""
    for parameter in model.parameters():
        if parameter.dim() == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)


def _parts(model: nn.Module) -> list[nn.Module]:
    names: tuple[str, ...] | None = getattr(model, "COMPILED_PARTS", None)
    return [model] if names is None else [model.get_submodule(name) for name in names]
