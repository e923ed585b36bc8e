"""The conditions that a synthesiser is shown: real, filled or missing, with their neighbouring slices."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from client.data.dataset import CaseStore, SliceBatch
from client.inference.fill import pick_source
from client.training.filled_inputs import Filler, contrast_free, stack_of
from common.nets.embeddings import MISSING
from common.sequences import Sequence

BACKGROUND = -1.0


@dataclass(frozen=True)
class Conditions:
    """What B slices are drawn from.

    Attributes:
        images: sequence by sequence, each with its S neighbouring slices, (B, C · S, H, W); -1 where missing.
        availability: what each condition is (`common.nets.embeddings`), (B, C) int64.
    """

    images: Tensor
    availability: Tensor


def conditions_of(
    filler: Filler, store: CaseStore, batch: SliceBatch, wanted: tuple[Sequence, ...], slices: int = 1
) -> Conditions:
    """Return the conditions of a batch, filled where missing, never from a sequence that needs gadolinium.

    Args:
        filler: the frozen generator.
        store: the store that the batch was taken from.
        batch: slices as the store gave them, not augmented.
        wanted: the C conditions.
        slices: S, odd; neighbours beyond a volume's ends are background.
    """
    reach = slices // 2
    stacks = [_beside(filler, store, batch, wanted, offset) for offset in range(-reach, reach + 1)]
    availability = filler.availability(store, batch, contrast_free(batch), wanted)
    return Conditions(torch.stack(stacks, dim=2).flatten(1, 2), availability)


def drop_some(conditions: Conditions, probability: float, never: int | None, generator: torch.Generator) -> Conditions:
    """Return the conditions with each one hidden by lot and marked as missing; the last that is there stays.

    Args:
        conditions: of B slices.
        probability: of each condition of each slice.
        never: the number of a condition that always stays.
        generator: of the lots.
    """
    if probability == 0:
        return conditions
    there = conditions.availability != MISSING
    lots = torch.rand(there.shape, generator=generator)
    if never is not None:
        lots[:, never] = 1.0
    stays = there & (lots >= probability)
    luckiest = lots.masked_fill(~there, -1).argmax(1, keepdim=True)
    stays |= there & ~stays.any(1, keepdim=True) & (torch.arange(there.shape[1]) == luckiest)
    images = conditions.images.view(*there.shape, -1, *conditions.images.shape[2:])
    images = torch.where(stays[:, :, None, None, None], images, BACKGROUND).flatten(1, 2)
    return replace(conditions, images=images, availability=conditions.availability.where(stays, MISSING))


def _beside(filler: Filler, store: CaseStore, batch: SliceBatch, wanted: tuple[Sequence, ...], offset: int) -> Tensor:
    """Return the slices `offset` above those of the batch, (B, C, H, W)."""
    cases, present = batch.case_index.tolist(), contrast_free(batch)
    numbers = (batch.slice_index + offset).tolist()
    exists = [0 <= number < store.cases[case].depth for case, number in zip(cases, numbers, strict=True)]
    if offset:
        batch = store.take(
            [
                (case, number if here else number - offset)
                for case, number, here in zip(cases, numbers, exists, strict=True)
            ],
            _read_for(present, wanted),
        )
    stack = stack_of(filler.fill(store, batch, present, wanted), wanted)
    return torch.where(torch.tensor(exists)[:, None, None, None], stack, BACKGROUND)


def _read_for(present: Mapping[Sequence, Tensor], wanted: tuple[Sequence, ...]) -> tuple[Sequence, ...]:
    """Return what a neighbouring slice is read for: `wanted`, and what the missing ones among them are filled from.

    What a case holds is true of all its slices, so `present`, (B,) bool per sequence, is the middle slice's.
    """
    needed = dict.fromkeys(wanted)
    for row in range(len(next(iter(present.values())))):
        there = {sequence for sequence, flags in present.items() if bool(flags[row])}
        sources = (pick_source(sequence, there) for sequence in wanted if sequence not in there)
        needed |= dict.fromkeys(source for source in sources if source is not None)
    return tuple(needed)
