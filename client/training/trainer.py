"""The training loop that all stages share; what differs between model families lives in one step file each."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from client.compilation import training
from client.data.dataset import CaseStore
from client.training.update import Counted
from common.errors import DataError
from common.settings.stages import StageSettings

Listener = Callable[[int, dict[str, float]], None]
"""Called after each step with its number (from 1) and its losses."""

Rate = Callable[[int], float]
"""What each learning rate is multiplied by at a step, by its number (from 1)."""

LAST_RATE = 0.02
"""Where a cosine ends and a warm-up begins, as a share of the stage's rate."""
TENTHS_AT = (0.5, 0.8)
"""Shares of the stage after which `"steps"` has divided the rate by ten: epochs 100 and 160 of 200 (CBSI)."""


class TrainingStep(Protocol):
    """One model family's step at one site: draws a batch, computes its losses, moves its optimisers.

    Attributes:
        model: what is federated; its state dict holds the stage's tensors.
        optimisers: by name; their state stays at the site.
    """

    model: nn.Module
    optimisers: Mapping[str, torch.optim.Optimizer]

    def draw(self, generator: torch.Generator) -> Any:
        """Draw one batch with all the randomness that a step needs, so that calling the step is deterministic."""
        ...

    def __call__(self, batch: Any) -> dict[str, float]:
        """Move the model by one step and return its losses. Raises NonFiniteLossError before any optimiser moves."""
        ...

    def evaluate(self, store: CaseStore) -> dict[str, Counted]:
        """Return losses on a few fixed slices of held-out cases, each with the patients that it was measured on.

        What no patient fits is left out.
        """
        ...

    def patients(self) -> dict[str, int]:
        """Return, per parameter group, the number of this site's patients that touch it."""
        ...

    def behind(self) -> dict[str, int]:
        """Return, per training loss, the number of patients that can contribute to it.

        A loss that is not named counts as the smallest group's. A parameter group is named where some number in it
        rests on fewer patients than touch the group.
        """
        ...


class NothingToTrainError(DataError):
    """The site has no case from which the stage could learn; it sits the stage out."""

    code = "nothing-to-train"


class NonFiniteLossError(DataError):
    """A loss or a gradient was NaN or infinite; the optimiser did not move."""

    code = "non-finite-loss"


def fit(step: TrainingStep, batches: Iterable[Any], on_step: Listener, rate: Rate = lambda number: 1.0) -> None:
    """Train on each batch in turn, each learning rate as it was on entry times `rate` of the step's number.

    Monitors and checkpoints listen, they are not branches in the loop.
    """
    groups = [group for optimiser in step.optimisers.values() for group in optimiser.param_groups]
    first = [group["lr"] for group in groups]
    with training(step.model):
        for number, batch in enumerate(batches, start=1):
            for group, learning_rate in zip(groups, first, strict=True):
                group["lr"] = learning_rate * rate(number)
            on_step(number, step(batch))
    for group, learning_rate in zip(groups, first, strict=True):
        group["lr"] = learning_rate


def rate_of(settings: StageSettings, round_number: int) -> Rate:
    """Return the share of the stage's learning rate at each step (from 1) of round `round_number` (from 1)."""
    steps, rounds = settings.local_steps, settings.rounds

    def share(number: int) -> float:
        return _share(settings, ((round_number - 1) * steps + number - 1) / (rounds * steps))

    return share


def _share(settings: StageSettings, done: float) -> float:
    """Return the share of the learning rate where the share `done` of all the stage's steps is done."""
    warm_up = settings.warm_up
    if done < warm_up:
        return LAST_RATE + (1 - LAST_RATE) * done / warm_up
    match settings.learning_rate_decay:
        case "none":
            return 1.0
        case "steps":
            return 0.1 ** sum(done >= border for border in TENTHS_AT)
        case "cosine":
            left = min((done - warm_up) / (1 - warm_up), 1)
            return LAST_RATE + (1 - LAST_RATE) * (1 + math.cos(math.pi * left)) / 2


def draw_batches(step: TrainingStep, count: int, generator: torch.Generator) -> Iterator[Any]:
    """Yield `count` batches of `step`, each drawn when it is needed."""
    for _ in range(count):
        yield step.draw(generator)


def descend(
    loss: Tensor, parts: Mapping[str, Tensor], optimiser: torch.optim.Optimizer, clip_norm: float | None = 1.0
) -> dict[str, float]:
    """Move `optimiser` down the gradient of `loss`, unless the loss or the gradient is not finite.

    Args:
        loss: scalar; where it depends on no parameter (nothing in the batch could be learnt from) nothing moves.
        parts: scalars to report beside it.
        clip_norm: largest norm of the whole gradient; None leaves it alone.
    Returns:
        `loss` and the parts as numbers.
    Raises:
        NonFiniteLossError: before the optimiser moves.
    """
    optimiser.zero_grad(set_to_none=True)
    if loss.requires_grad:
        loss.backward()  # type: ignore[no-untyped-call]
    return take_step(optimiser, {"loss": loss, **parts}, clip_norm)


def take_step(
    optimiser: torch.optim.Optimizer, values: Mapping[str, Tensor], clip_norm: float | None
) -> dict[str, float]:
    """Clip the gradients that are there, move the optimiser by them, and return the losses as numbers.

    Where there is no gradient (nothing in the batch could be learnt from) nothing moves. Losses and gradient are looked
    at together, after the backward pass, so that a GPU is waited for once a step.

    Raises:
        NonFiniteLossError: before the optimiser moves, where a loss or the gradient is not finite.
    """
    gradients = [p for group in optimiser.param_groups for p in group["params"] if p.grad is not None]
    watched = {name: value.detach().float() for name, value in values.items()}
    if gradients:
        watched["gradient"] = torch.nn.utils.clip_grad_norm_(gradients, math.inf if clip_norm is None else clip_norm)
    numbers = dict(zip(watched, torch.stack(list(watched.values())).tolist(), strict=True))
    refuse_non_finite(numbers)
    if gradients:
        optimiser.step()
    return {name: numbers[name] for name in values}


def refuse_non_finite(values: Mapping[str, float]) -> None:
    """Raise NonFiniteLossError where one of the named values is NaN or infinite."""
    broken = sorted(name for name, value in values.items() if not math.isfinite(value))
    if broken:
        raise NonFiniteLossError(
            f"{', '.join(broken)} became NaN or infinite; lower the stage's learning_rate, "
            "or run `gliofed-client check` on the scans"
        )
