"""A whole case as the published synthesiser is asked for it: some slices of a brain, both hypotheses."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from torch import nn

from client.inference.drawing_plan import plan_of
from client.inference.synthesise import hypotheses_volume
from common.settings.stages import SynthesiserStage

SLICES = 19
PUBLISHED_STEPS = 100
HYPOTHESES = 2
BRAIN_SHARE = 0.67
"""Of a slice's pixels, in the brain's bounding box (published data at 424 x 424)."""


def case_of(model: nn.Module, slices: int, height: int, width: int, steps: int) -> Callable[[], object]:
    """Return the work of drawing both hypotheses of a random case, the way a site draws them."""
    draw = np.random.default_rng(0)
    brain = np.broadcast_to(disc(height, width), (slices, height, width)).astype(np.uint8)
    greys = draw.uniform(-1, 1, (2, slices, height, width))
    condition = np.where(brain > 0, greys, -1).astype(np.float32)
    plan = plan_of(SynthesiserStage(sampler="dpm"), steps)  # the one that needs few steps: docs/evidence/ablations.md

    def draw_case() -> None:
        hypotheses_volume(model, plan, condition, seed=1, brain=brain)

    return draw_case


def disc(height: int, width: int) -> NDArray[np.bool_]:
    """Return an ellipse (H, W) whose bounding box has `BRAIN_SHARE` of the pixels."""
    side = BRAIN_SHARE**0.5
    rows = np.linspace(-1, 1, height)[:, None] / side
    columns = np.linspace(-1, 1, width)[None] / side
    inside: NDArray[np.bool_] = rows**2 + columns**2 <= 1
    return inside
