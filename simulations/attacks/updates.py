"""What a coordinator sees of patients: the update of one step or of many, of one patient or of several, or private."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from client.privacy.dp_sgd import system_noise
from simulations.attacks.gradient_inversion import gradient_of


@dataclass(frozen=True)
class Shown:
    """One slice of each of B patients, (B, C, H, W) in [-1, 1], what the network should say of it, (B,), and the brain.

    `brain` is (B, H, W) bool.
    """

    images: Tensor
    answers: Tensor
    brain: Tensor

    def of(self, rows: Sequence[int]) -> Shown:
        """Return these patients."""
        chosen = torch.tensor(rows)
        return Shown(self.images[chosen], self.answers[chosen], self.brain[chosen])


def loss_of(model: nn.Module, images: Tensor, answers: Tensor) -> Tensor:
    """Return the mean binary cross-entropy of the model's logits, (B,)."""
    return F.binary_cross_entropy_with_logits(model(images), answers)


def one_step(model: nn.Module, shown: Shown) -> list[Tensor]:
    """Return the mean gradient of one step on all the patients: of a single one, what inversion was made for."""
    return gradient_of(loss_of(model, shown.images, shown.answers), model)


def many_steps(
    model: nn.Module, shown: Shown, steps: int, batch: int, learning_rate: float, generator: torch.Generator
) -> list[Tensor]:
    """Return how the weights moved in `steps` of gradient descent on batches drawn from the patients, sign reversed."""
    trained = copy.deepcopy(model)
    descent = torch.optim.SGD(trained.parameters(), lr=learning_rate)
    for _ in range(steps):
        rows = torch.randint(len(shown.images), (batch,), generator=generator).tolist()
        drawn = shown.of(rows)
        descent.zero_grad()
        loss_of(trained, drawn.images, drawn.answers).backward()  # type: ignore[no-untyped-call]
        descent.step()
    return [
        before.detach() - after.detach() for before, after in zip(model.parameters(), trained.parameters(), strict=True)
    ]


def made_private(gradient: list[Tensor], clip_norm: float, noise_multiplier: float) -> list[Tensor]:
    """Return one patient's gradient clipped, with noise of `noise_multiplier` times the clip, as DP-SGD sends it."""
    norm = float(torch.stack([part.square().sum() for part in gradient]).sum().sqrt())
    share = min(1.0, clip_norm / norm) if norm else 1.0
    return [part * share + system_noise(part.shape).to(part) * (noise_multiplier * clip_norm) for part in gradient]
