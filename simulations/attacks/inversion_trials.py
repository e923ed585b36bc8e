"""Gradient inversion against one network and kind of update after another, on the same patients."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from common.nets.identifier import INPUTS, Identifier
from common.seeding import torch_generator
from simulations.attacks.gradient_inversion import Resemblance, invert, read_off, resemblance
from simulations.attacks.updates import Shown, loss_of, made_private, many_steps, one_step
from simulations.attacks.victims import LinearVictim, SmallCnn

ANSWER_OF_ALL = 1.0
"""The label that the attacker supposes; of a single patient it is the true one."""


@dataclass(frozen=True)
class InversionTrial:
    """What an attack recovered of the patient that it came closest to, and how close a mean picture comes by itself."""

    network: str
    update: str
    recovered: Resemblance
    reference: Resemblance


Update = Callable[[nn.Module, Shown, torch.Generator], list[Tensor]]

UPDATES: dict[str, tuple[int, Update]] = {
    "one patient, one step": (1, lambda model, shown, lots: one_step(model, shown)),
    "mean of 2 patients, one step": (2, lambda model, shown, lots: one_step(model, shown)),
    "mean of 5 patients, one step": (5, lambda model, shown, lots: one_step(model, shown)),
    "5 patients, 50 steps of batches of 4": (5, lambda model, shown, lots: many_steps(model, shown, 50, 4, 0.1, lots)),
    "one patient, clipped": (1, lambda model, shown, lots: made_private(one_step(model, shown), 1.0, 0.0)),
    "one patient, clipped, noise 0.1": (1, lambda model, shown, lots: made_private(one_step(model, shown), 1.0, 0.1)),
    "one patient, clipped, noise 1": (1, lambda model, shown, lots: made_private(one_step(model, shown), 1.0, 1.0)),
}
"""By name: patients behind an update, and how it comes about; noise as a multiple of the clip."""


def trials(
    patients: Shown, others: Tensor, seed: int, steps: int, updates: Mapping[str, tuple[int, Update]] = UPDATES
) -> Iterator[InversionTrial]:
    """Yield the attacks on a linear layer, on the small CNN under each update, and on our own identifier.

    Args:
        patients: three channels; the first is attacked where a network takes one.
        others: images of other patients, (N, 3, H, W), whose mean is the reference.
        seed: of the networks' weights and the searches.
        steps: of a search.
        updates: as `UPDATES`, whose first is the plain one.
    """
    single = Shown(patients.images[:, :1], patients.answers, patients.brain)
    reference = others.mean(0)
    channels, height, width = single.images.shape[1:]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)  # the initialisers of torch know no generator
        linear, cnn = LinearVictim(channels, height, width), SmallCnn(channels, height, width)
        identifier = Identifier("tiny")
    first = single.of([0])
    image = read_off(*one_step(linear, first)).reshape(first.images.shape)
    yield _trial("one linear layer", "one patient, one step", image, first, reference[:1])
    for name, (count, update) in updates.items():
        yield searched("small CNN", name, cnn, update, single.of(range(count)), reference[:1], seed, steps)
    assert patients.images.shape[1] == INPUTS  # noqa: S101
    name, (_, update) = next(iter(updates.items()))
    yield searched("identifier, tiny", name, identifier, update, patients.of([0]), reference, seed, steps)


def searched(
    network: str, name: str, model: nn.Module, update: Update, shown: Shown, reference: Tensor, seed: int, steps: int
) -> InversionTrial:
    """Let a network send an update of these patients, and search the image."""
    seen = update(model, shown, torch_generator(seed, network, name, "batches"))
    answer = shown.answers[:1] if len(shown.answers) == 1 else torch.full((1,), ANSWER_OF_ALL)
    found = invert(
        seen,
        model,
        lambda image: loss_of(model, image, answer),
        (1, *shown.images.shape[1:]),
        torch_generator(seed, network, name, "guess"),
        steps,
    )
    return _trial(network, name, found, shown, reference)


def _trial(network: str, update: str, found: Tensor, shown: Shown, reference: Tensor) -> InversionTrial:
    """Compare what was found with the patient that it resembles most, and the mean picture with that patient."""
    likenesses = [
        resemblance(found[0].clamp(-1, 1), image, brain) for image, brain in zip(shown.images, shown.brain, strict=True)
    ]
    row = max(range(len(likenesses)), key=lambda number: likenesses[number].correlation)
    return InversionTrial(network, update, likenesses[row], resemblance(reference, shown.images[row], shown.brain[row]))
