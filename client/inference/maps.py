"""A sequence that a case lacks, CBV above all, drawn from whatever subset of the wanted inputs it really holds."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from client.inference.device import device_of
from client.precision import half_precision
from common.sequences import NEEDS_GADOLINIUM, Sequence
from common.settings.stages import MapsStage

Slices = NDArray[np.float32]


class MapDrawing(Protocol):
    """What this module asks of `common.nets.map_synthesiser.MapSynthesiser`."""

    def __call__(self, images: Tensor, available: Tensor) -> Tensor:
        """Return the map, (B, 1, H, W), from images (B, inputs, H, W) and what of them is there, (B, inputs)."""
        ...


@dataclass(frozen=True)
class DrawnMap:
    """A drawn map.

    Attributes:
        sequence: what was drawn.
        slices: (K, H, W) in [-1, 1], -1 outside the brain.
        inputs: the real sequences that it was drawn from.
    """

    sequence: Sequence
    slices: Slices
    inputs: tuple[Sequence, ...]

    @property
    def gadolinium_inputs(self) -> tuple[Sequence, ...]:
        """Those of the inputs that need gadolinium: with any of them the map is not contrast-free."""
        return tuple(sequence for sequence in self.inputs if sequence in NEEDS_GADOLINIUM)


def usable_inputs(settings: MapsStage, held: Collection[Sequence]) -> tuple[Sequence, ...]:
    """Return the inputs among `held`; none where the model was trained on all of them and one is missing."""
    found = tuple(sequence for sequence in settings.inputs if sequence in held)
    return () if settings.subsets == "all-inputs" and len(found) < len(settings.inputs) else found


def map_of_case(
    model: MapDrawing, settings: MapsStage, real: Mapping[Sequence, Slices], brain: NDArray[np.uint8]
) -> DrawnMap | None:
    """Draw the target where the case lacks it and holds enough; None otherwise.

    Args:
        model: the released model.
        settings: the stage's, which name target and inputs.
        real: the case's real sequences, (K, H, W) in [-1, 1].
        brain: (K, H, W), non-zero inside.
    """
    inputs = usable_inputs(settings, real)
    if settings.target in real or not inputs:
        return None
    given = {sequence: real[sequence] for sequence in inputs}
    return DrawnMap(settings.target, draw_map(model, settings.inputs, given, brain), inputs)


@torch.inference_mode()
def draw_map(
    model: MapDrawing,
    order: tuple[Sequence, ...],
    given: Mapping[Sequence, Slices],
    brain: NDArray[np.uint8] | NDArray[np.bool_],
    batch: int = 32,
) -> Slices:
    """Return the map, (K, H, W) in [-1, 1], -1 outside the brain.

    Args:
        model: the released model; it runs where its parameters are.
        order: the inputs it was trained with, in its order.
        given: those that it may see, (K, H, W) in [-1, 1] each.
        brain: (K, H, W), non-zero inside.
        batch: slices at a time.
    """
    device, inside = device_of(model), brain > 0
    out = np.full(inside.shape, -1, dtype=np.float32)
    occupied = np.flatnonzero(inside.any(axis=(1, 2)))
    for start in range(0, len(occupied), batch):
        rows = occupied[start : start + batch]
        images = np.full((len(rows), len(order), *inside.shape[1:]), -1, dtype=np.float32)
        for channel, sequence in enumerate(order):
            if sequence in given:
                images[:, channel] = given[sequence][rows]
        available = torch.tensor([sequence in given for sequence in order], device=device).expand(len(rows), -1)
        with half_precision(device):
            drawn = model(torch.from_numpy(images).to(device), available)
        out[rows] = np.where(inside[rows], drawn[:, 0].float().clamp(-1, 1).cpu().numpy(), np.float32(-1))
    return out
