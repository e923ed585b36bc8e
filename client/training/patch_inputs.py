"""Completed patches for the 3-D segmenter: whole slices are filled, then patches cut out of them, turned and zoomed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from client.data.augmentation import BACKGROUND, draw_maps, mirror_rows
from client.data.dataset import CaseStore
from client.data.patches import PatchPlaces, Place, Voxel
from client.training.filled_inputs import Filler, stack_of
from client.training.segmentation_inputs import CompletedBatch, can_train, hide
from common.sequences import STRUCTURAL, Sequence

FIXED_PATIENTS = 12

Hidden = Callable[[dict[Sequence, Tensor]], dict[Sequence, Tensor]]
"""From what is present of each patch, (B,) bool, to what stays visible."""


@dataclass(frozen=True)
class _Slabs:
    """The completed slices of B patches, whole in-plane; a volume that is too short ends in background.

    Attributes:
        images: (B, 4, K, H, W).
        brain, labels: (B, K, H, W).
    """

    images: Tensor
    brain: Tensor
    labels: Tensor
    label_kind: Tensor


class PatchInputs:
    """See SegmentationInputs. Hiding goes patch by patch: a volume lacks a sequence as a whole."""

    def __init__(
        self,
        store: CaseStore,
        filler: Filler,
        window: Voxel,
        foreground_share: float,
        hidden: float,
        mirror_axes: tuple[int, ...],
    ) -> None:
        """Keep what patches of size `window` (K, H, W) are drawn with; the rest as in SliceInputs and PatchPlaces."""
        self.places = PatchPlaces(store, window, foreground_share)
        self.filler, self.window, self.hidden, self.mirror_axes = filler, window, hidden, mirror_axes

    def draw(self, count: int, generator: torch.Generator) -> CompletedBatch:
        """See SegmentationInputs."""
        places = self.places.draw(count, generator, can_train)
        slabs = self._complete(self.places.store, places, lambda present: hide(present, self.hidden, generator))
        images, labels = _cut_moved(slabs, places, self.window, generator)
        for axis in self.mirror_axes:
            chosen = torch.rand(count, generator=generator) < 0.5
            images, labels = mirror_rows(images, chosen, axis), mirror_rows(labels, chosen, axis)
        return CompletedBatch(images, labels, slabs.label_kind)

    def fixed(self, store: CaseStore) -> CompletedBatch | None:
        """See SegmentationInputs."""
        middles = PatchPlaces(store, self.window, 0.0)
        indices = [held[0] for held in list(store.patients(can_train).values())[:FIXED_PATIENTS]]
        places = [middles.middle(index) for index in indices]
        if not places:
            return None
        slabs = self._complete(store, places, lambda present: present)
        windows = [(..., *_in_plane(place, self.window)) for place in places]
        images = torch.stack([slab[window] for slab, window in zip(slabs.images, windows, strict=True)])
        labels = torch.stack([slab[window] for slab, window in zip(slabs.labels, windows, strict=True)])
        return CompletedBatch(images, labels, slabs.label_kind)

    def _complete(self, store: CaseStore, places: list[Place], hidden: Hidden) -> _Slabs:
        """Take the slices of each patch and fill what is missing or hidden of it."""
        limits = [store.cases[place.case].depth for place in places]
        depths = [min(self.window[0], limit - place.first[0]) for place, limit in zip(places, limits, strict=True)]
        slices = store.take(
            [
                (place.case, place.first[0] + k)
                for place, depth in zip(places, depths, strict=True)
                for k in range(depth)
            ]
        )
        first = torch.tensor([0, *depths[:-1]]).cumsum(0)
        repeats = torch.tensor(depths)
        visible = hidden({sequence: slices.present[sequence][first] for sequence in STRUCTURAL})
        by_slice = {sequence: flags.repeat_interleave(repeats) for sequence, flags in visible.items()}
        filled = self.filler.fill(store, slices, by_slice, STRUCTURAL)

        def slabs(stack: Tensor, outside: float) -> Tensor:
            """Return (B, K, …) from all slices (N, …)."""
            pieces = (piece.movedim(0, -1) for piece in torch.split(stack, depths))
            whole = [F.pad(piece, (0, self.window[0] - piece.shape[-1]), value=outside) for piece in pieces]
            return torch.stack(whole).movedim(-1, 1)

        return _Slabs(
            slabs(stack_of(filled, STRUCTURAL), BACKGROUND).transpose(1, 2),
            slabs(filled.brain[:, 0], 0),
            slabs(filled.labels, 0),
            filled.label_kind[first],
        )


def _in_plane(place: Place, window: Voxel) -> tuple[slice, slice]:
    (_, h, w), (_, height, width) = place.first, window
    return slice(h, h + height), slice(w, w + width)


def _cut_moved(slabs: _Slabs, places: list[Place], window: Voxel, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Cut out each patch, turned and zoomed in-plane about its middle: images (B, 4, K, h, w), labels (B, K, h, w).

    Interpolation is as in `move_some`; since whole slices are at hand, background enters from outside the slice alone.
    """
    count, (height, width) = len(places), slabs.images.shape[-2:]
    side = torch.tensor([window[2] / width, window[1] / height])  # x runs along W, y along H
    theta = draw_maps(count, window[1] / window[2], generator) * side[:, None]
    corners = torch.tensor([[w / width, h / height] for _, h, w in (place.first for place in places)])
    theta[:, :, 2] = 2 * corners + side - 1
    grid = F.affine_grid(theta, [count, 1, window[1], window[2]], align_corners=False)

    def cut(stack: Tensor, mode: str) -> Tensor:
        planes = F.grid_sample(stack.flatten(1, -3), grid, mode=mode, padding_mode="zeros", align_corners=False)
        return planes.view(*stack.shape[:-2], *window[1:])

    brain = cut(slabs.brain.float(), "nearest") > 0.5
    images = cut(slabs.images - BACKGROUND, "bilinear") + BACKGROUND
    labels = cut(slabs.labels.float(), "nearest").round().to(slabs.labels.dtype)
    return torch.where(brain[:, None], images, BACKGROUND), labels
