"""Sizes of the segmenter, where its levels halve, and how it reads a volume: numbers alone, without torch."""

from __future__ import annotations

from collections.abc import Sequence as Items
from dataclasses import dataclass
from typing import Literal

Size = Literal["tiny", "paper"]
Dimensions = Literal[2, 3]

SMALLEST_MAP = 4
"""An axis is halved as long as this many positions remain."""

AXES = {"right": -2, "front": -1, "head": -3}
"""Tensor axes of the directions to which I, J and K grow, in stacks (…, K, H, W)."""


@dataclass(frozen=True)
class SegmenterShape:
    """Size of a Segmenter.

    Attributes:
        square: side of the square of pixels, in-plane, that the first level takes as one position; its pixels become
            channels.
        filters: channels of the U-Net's levels, finest first; a plan may use fewer levels.
    """

    square: int
    filters: tuple[int, ...]


SHAPES: dict[tuple[Size, Dimensions], SegmenterShape] = {
    ("tiny", 2): SegmenterShape(2, (32, 48, 64, 96)),
    ("tiny", 3): SegmenterShape(2, (16, 32, 48, 64)),
    ("paper", 2): SegmenterShape(1, (32, 64, 128, 256, 512, 512)),
    ("paper", 3): SegmenterShape(1, (32, 64, 128, 256, 320, 320)),
}


@dataclass(frozen=True)
class UNetPlan:
    """Strides into each level and kernels within it, finest first; axes (H, W) or (K, H, W)."""

    strides: tuple[tuple[int, ...], ...]
    kernels: tuple[tuple[int, ...], ...]

    @property
    def multiple(self) -> tuple[int, ...]:
        """What each axis must be a multiple of, so that every level halves evenly."""
        total = [1] * len(self.strides[0])
        for stride in self.strides:
            total = [before * step for before, step in zip(total, stride, strict=True)]
        return tuple(total)


@dataclass(frozen=True)
class Reading:
    """How a volume (…, K, H, W) goes through a segmenter.

    Attributes:
        window: (K, H, W) of the window that slides over it; None reads it slice by slice.
        overlap: share of the window that the next one covers again.
        flips: axes, from the end; the probabilities are the mean over all mirror images along them.
    """

    window: tuple[int, int, int] | None = None
    overlap: float = 0.5
    flips: tuple[int, ...] = ()


def mirrored_axes(directions: Items[str], dimensions: Dimensions) -> tuple[int, ...]:
    """Return the tensor axes of the directions, from the end; slices have none along the head."""
    return tuple(AXES[name] for name in directions if dimensions == 3 or name != "head")


def even_plan(levels: int, axes: int = 2) -> UNetPlan:
    """Return the plan that halves every axis at every level."""
    return UNetPlan(((1,) * axes, *[(2,) * axes] * (levels - 1)), ((3,) * axes,) * levels)


def plan_levels(patch: Items[int], spacing_mm: Items[float], levels: int) -> UNetPlan:
    """Plan at most `levels` levels for a patch, as nnU-Net's planner does (Nat Methods 18:203, 2021).

    A level halves the axes that leave `SMALLEST_MAP` positions and whose spacing is below twice the finest of these; an
    axis that could only go alone needs half as many again. Kernels are 1 along an axis until its spacing has come below
    twice the finest, then 3; at the bottom 3.

    Args:
        patch: positions along each axis.
        spacing_mm: along the same axes.
    """
    size, spacing = list(patch), list(spacing_mm)
    joined = [False] * len(size)
    strides, kernels = [(1,) * len(size)], []
    while True:
        joined = [known or step < 2 * min(spacing) for known, step in zip(joined, spacing, strict=True)]
        kernels.append(tuple(3 if known else 1 for known in joined))
        able = [axis for axis, count in enumerate(size) if count >= 2 * SMALLEST_MAP]
        able = [axis for axis in able if spacing[axis] < 2 * min(spacing[other] for other in able)]
        alone = len(able) == 1 and size[able[0]] < 3 * SMALLEST_MAP
        if len(strides) == levels or not able or alone:
            return UNetPlan(tuple(strides), (*kernels[:-1], (3,) * len(size)))
        strides.append(tuple(2 if axis in able else 1 for axis in range(len(size))))
        size = [count // step for count, step in zip(size, strides[-1], strict=True)]
        spacing = [before * step for before, step in zip(spacing, strides[-1], strict=True)]


def plan_patch(size: Size, window: tuple[int, int, int], spacing_mm: tuple[float, float, float]) -> UNetPlan:
    """Return the 3-D segmenter's plan for a window (K, H, W) at this spacing along (K, H, W)."""
    shape = SHAPES[size, 3]
    squares = (1, shape.square, shape.square)
    positions = [count // square for count, square in zip(window, squares, strict=True)]
    steps = [step * square for step, square in zip(spacing_mm, squares, strict=True)]
    return plan_levels(positions, steps, len(shape.filters))


def patch_problem(
    size: Size, patch: tuple[int, int, int], shape: tuple[int, int], spacing_mm: tuple[float, float, float]
) -> str | None:
    """Return what is wrong with a patch on a grid, axes (I, J, K), None where nothing is.

    Args:
        shape: in-plane size of the grid; a volume has as many slices as it needs.
    """
    for name, count, limit in zip(("right", "front"), patch, shape, strict=False):
        if count > limit:
            return f"{count} voxels to the {name} are more than the grid's {limit}; give {limit} or less"
    for axis, name in enumerate(("right", "front", "head")):
        if not _halves_evenly(size, patch, spacing_mm, axis, patch[axis]):
            fitting = [
                count
                for count in range(SMALLEST_MAP, 2 * patch[axis] + 4 * SMALLEST_MAP)
                if _halves_evenly(size, patch, spacing_mm, axis, count) and (axis == 2 or count <= shape[axis])
            ]
            best = min(fitting, key=lambda count: abs(count - patch[axis]))
            return f"{patch[axis]} voxels to the {name} cannot be halved evenly at every level; {best} can"
    return None


def _halves_evenly(
    size: Size, patch: tuple[int, int, int], spacing_mm: tuple[float, float, float], axis: int, count: int
) -> bool:
    """Whether a patch (I, J, K) with `count` voxels along `axis` halves evenly along it."""
    sides = tuple(count if number == axis else side for number, side in enumerate(patch))
    square = SHAPES[size, 3].square if axis < 2 else 1
    plan = plan_patch(size, (sides[2], sides[0], sides[1]), (spacing_mm[2], spacing_mm[0], spacing_mm[1]))
    return count % (square * plan.multiple[(1, 2, 0)[axis]]) == 0
