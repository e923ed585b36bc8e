"""A stage's step under differential privacy: every move sees some patients, each through rows of that patient alone.

A move is one optimiser's. Each has a Poisson draw of its own, so that a step of two networks (a discriminator, then
what draws) counts as two in the ledger. What becomes of a patient's row (its slice, mirroring, hidden inputs, drop-out)
is drawn from entropy of its own: were it the study's generator, one patient more would change the rows of all others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from client.data.dataset import CaseStore
from client.privacy.dp_sgd import fresh_generator, noisy_step, one_by_one, poisson_batch
from client.training.trainer import NonFiniteLossError, TrainingStep
from client.training.update import Counted
from common.errors import StudyError
from common.settings.privacy import Privacy


@dataclass(frozen=True)
class Move:
    """What one optimiser goes down.

    Attributes:
        optimiser: its name in the step.
        loss: of a batch that one patient's rows make up, a scalar.
    """

    optimiser: str
    loss: Callable[[Any], Tensor]


@runtime_checkable
class PatientStep(TrainingStep, Protocol):
    """A step that can be taken patient by patient."""

    def trained_patients(self) -> tuple[str, ...]:
        """Return the patients that a draw may hit: each by what is true of that patient alone."""
        ...

    def draw_of(self, patient: str, generator: torch.Generator) -> Any:
        """Draw one slice or stack of `patient`, and whatever else the loss needs, from that patient's scans alone."""
        ...

    def moves(self, number: int) -> tuple[Move, ...]:
        """Return the moves of step `number`, in order; how many there are does not depend on the number."""
        ...


class PrivateStep:
    """Takes the steps of `step` privately; see the module's text. A `TrainingStep` itself.

    Attributes:
        expected: what each noisy sum is divided by. It is the study's, and not what the site expects to draw: that
            would tell how many patients it has.
    """

    def __init__(self, step: TrainingStep, privacy: Privacy, expected: int) -> None:
        """Wrap `step`. Raises StudyError where it cannot be taken patient by patient."""
        if not isinstance(step, PatientStep):
            raise StudyError(f"{type(step).__name__} cannot be trained privately; remove its stage from privacy.stages")
        self.step, self.privacy, self.expected = step, privacy, float(expected)
        self.model: nn.Module = step.model
        self.optimisers: Mapping[str, torch.optim.Optimizer] = step.optimisers
        self.number = 0
        self.fixed = {name: buffer.clone() for name, buffer in self.model.named_buffers()}

    @property
    def moves(self) -> int:
        """Noisy moves in a step."""
        return len(self.step.moves(0))

    def draw(self, generator: torch.Generator) -> tuple[tuple[str, ...], ...]:
        """Draw, for each move, the patients that it sees; `generator` is the study's and has no say in it."""
        patients = self.step.trained_patients()
        return tuple(tuple(poisson_batch(patients, self.privacy.sampling_rate)) for _ in range(self.moves))

    def __call__(self, batch: tuple[tuple[str, ...], ...]) -> dict[str, float]:
        """Take every move on the patients that `draw` found for it; no loss is told.

        Raises:
            NonFiniteLossError: where a weight is no longer finite, which noise has hidden all patients in.
        """
        for move, patients in zip(self.step.moves(self.number), batch, strict=True):
            self._take(move, patients)
        self.number += 1
        if not all(bool(weight.isfinite().all()) for weight in self.model.parameters()):
            raise NonFiniteLossError("weights became NaN or infinite; lower the stage's learning_rate or its noise")
        return {}

    def _take(self, move: Move, patients: tuple[str, ...]) -> None:
        optimiser, privacy = self.optimisers[move.optimiser], self.privacy
        with torch.random.fork_rng(devices=[]):
            gradients = one_by_one(self._rows(patients), move.loss, optimiser)
            noisy_step(gradients, optimiser, privacy.clip_norm, privacy.noise_multiplier, self.expected)

    def _rows(self, patients: tuple[str, ...]) -> Iterator[Any]:
        """Yield each patient's rows as they are needed, and let the networks' own chance begin anew with each."""
        for patient in patients:
            torch.manual_seed(fresh_generator().initial_seed())
            yield self.step.draw_of(patient, fresh_generator())

    def check_buffers(self) -> None:
        """Refuse a network that kept anything of its patients beside the noisy weights. Raises StudyError."""
        moved = [name for name, value in self.model.named_buffers() if not torch.equal(value, self.fixed[name])]
        if moved:
            raise StudyError(f"{moved[0]} moved without noise: such a network cannot be trained privately")

    def evaluate(self, store: CaseStore) -> dict[str, Counted]:
        """See TrainingStep; what it returns stays at the site."""
        return self.step.evaluate(store)

    def patients(self) -> dict[str, int]:
        """See TrainingStep."""
        return self.step.patients()

    def behind(self) -> dict[str, int]:
        """See TrainingStep."""
        return self.step.behind()
