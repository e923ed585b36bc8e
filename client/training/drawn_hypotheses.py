"""What the frozen models draw of a case for the identifier: T1, FLAIR and both T1Gd inside the predicted tumour.

Real T1Gd is hidden throughout, from the tumour's prediction too, since a patient without gadolinium has none. The
drawings are kept beside the cache under the hash of the models that drew them, so that the next round finds them; they
are synthetic, are inputs only, and never leave the site.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load, save
from torch import Tensor, nn

from client.data.cache import CachedCase
from client.data.dataset import CaseStore
from client.inference.drawing_plan import plan_of
from client.inference.identify import Slices, tumour_slices, tumour_windows
from client.inference.segment import segment_volume, whole_tumour
from client.inference.synthesise import hypotheses_volume
from client.precision import current_precision
from client.training.filled_inputs import Filler, contrast_free, stack_of, weights_digest
from common.files import write_whole
from common.generative.hypotheses import Synthesiser
from common.logs import logger
from common.sequences import NEEDS_GADOLINIUM, STRUCTURAL, Sequence
from common.settings.stages import SynthesiserStage
from common.study import code_version

FOLDER = "drawn"
WINDOWS = "windows"
CONDITION_CHANNELS = [STRUCTURAL.index(Sequence.T1), STRUCTURAL.index(Sequence.FLAIR)]

log = logger(__name__)


@dataclass(frozen=True)
class HypothesisDrawer:
    """The frozen models of the earlier stages, and how they sample.

    Attributes:
        filler: the generator.
        synthesiser, segmenter: in evaluation mode.
        settings: of the synthesiser, which say how it is asked.
        seed: of the noise, the study's.
    """

    filler: Filler
    synthesiser: nn.Module
    segmenter: nn.Module
    settings: SynthesiserStage
    seed: int

    def digest(self) -> str:
        """Return a hash of everything but the case that the drawings depend on, 16 hex digits."""
        weights = f"{self.filler.digest} {weights_digest(self.synthesiser, self.segmenter)}"
        reading = getattr(self.segmenter, "reading", None)
        sampling = f"{self.settings.model_dump_json()} {self.seed} {current_precision()} {reading}"
        settings = f"{code_version()} {weights} {self.filler.site} {self.filler.reference_site} {sampling}"
        return hashlib.sha256(settings.encode()).hexdigest()[:16]

    def draw(self, store: CaseStore, index: int) -> Slices:
        """Return T1, FLAIR, T1Gd⁺ and T1Gd⁻ of the windows of one case, (4, n, h, w); n = 0 without a tumour."""
        case = store.cases[index]
        slices = store.take([(index, number) for number in range(case.depth)])
        plan, visible = plan_of(self.settings), contrast_free(slices)
        hidden = {sequence: torch.zeros(case.depth, dtype=torch.bool) for sequence in NEEDS_GADOLINIUM}
        wanted = tuple(dict.fromkeys((*STRUCTURAL, *plan.conditions)))
        completed = self.filler.fill(store, slices, visible | hidden, wanted)
        stack = stack_of(completed, STRUCTURAL).numpy().transpose(1, 0, 2, 3)
        segmenter = cast(Callable[[Tensor], Tensor], self.segmenter)
        voxel_ml = float(abs(np.linalg.det(case.affine[:3, :3]))) / 1000
        tumour = whole_tumour(segment_volume(segmenter, np.ascontiguousarray(stack)), voxel_ml)
        inside = np.zeros_like(case.brain())
        numbers = tumour_slices(tumour)
        inside[numbers] = case.brain()[numbers]
        condition = np.ascontiguousarray(stack_of(completed, plan.conditions).numpy().transpose(1, 0, 2, 3))
        codes = tuple(self.filler.availability(store, slices, visible, plan.conditions)[0].tolist())
        synthesiser = cast(Synthesiser, self.synthesiser)
        drawn = hypotheses_volume(synthesiser, plan, condition, self.seed, inside, codes)
        return tumour_windows(np.stack([*stack[CONDITION_CHANNELS], drawn.enhancing, drawn.non_enhancing]), tumour)


@dataclass(frozen=True)
class KeptWindows:
    """The drawn windows of one case where they are kept: read as they are needed, for all cases' would fill the memory.

    Attributes:
        path: the file.
        count: n, slices inside the predicted tumour.
    """

    path: Path
    count: int

    def read(self) -> Slices:
        """Return all windows, (4, n, h, w)."""
        return load(self.path.read_bytes())[WINDOWS]

    def read_one(self, number: int) -> Slices:
        """Return the window of one slice, (4, h, w)."""
        with safe_open(self.path, framework="np") as file:
            found: Slices = file.get_slice(WINDOWS)[:, number : number + 1]
        return found[:, 0]


def draw_or_recall(drawer: HypothesisDrawer, store: CaseStore, indices: list[int]) -> dict[int, KeptWindows]:
    """Return the windows of the cases with these indices, drawn now unless an earlier round drew and kept them."""
    digest = drawer.digest()
    found: dict[int, KeptWindows] = {}
    for number, index in enumerate(indices, start=1):
        path = _kept_at(store.cases[index], digest)
        kept = _find(path)
        if kept is None:
            windows = drawer.draw(store, index)
            facts = {"synthetic": True, "models": digest, "use": "training input of the identifier"}
            write_whole(path, save({WINDOWS: windows}, {"drawn": json.dumps(facts, sort_keys=True)}))
            log.info("drew both hypotheses of case %d of %d, %d slices", number, len(indices), windows.shape[1])
            kept = KeptWindows(path, windows.shape[1])
        found[index] = kept
    return found


def _kept_at(case: CachedCase, digest: str) -> Path:
    sequences = hashlib.sha256(",".join(case.sequences).encode()).hexdigest()[:8]
    return case.path.parent / FOLDER / f"{case.path.stem}.{sequences}.{digest}.safetensors"


def _find(path: Path) -> KeptWindows | None:
    """Return what an earlier round kept; None where there is nothing, or nothing whole."""
    try:
        with safe_open(path, framework="np") as file:
            return KeptWindows(path, file.get_slice(WINDOWS).get_shape()[1])
    except (OSError, SafetensorError):
        return None
