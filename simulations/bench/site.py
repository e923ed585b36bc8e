"""A site of random slices, for steps that draw their own batches."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from client.data.cache import LabelKind, open_case, write_case
from client.data.dataset import CaseStore
from common.sequences import STRUCTURAL, Sequence

PATIENTS, DEPTH = 2, 4
SEQUENCES = (*STRUCTURAL, Sequence.ADC, Sequence.CBV)


def random_site(folder: Path, height: int, width: int) -> CaseStore:
    """Write two patients of random greys, each of every sequence, a square tumour in each slice, and open them."""
    cases = []
    for number in range(PATIENTS):
        draw = np.random.default_rng(number)
        shape = (DEPTH, height, width)
        brain = np.ones(shape, dtype=np.uint8)
        labels = np.zeros(shape, dtype=np.uint8)
        labels[:, height // 4 : height // 2, width // 4 : width // 2] = 4
        greys = {each.value: draw.uniform(-1, 1, shape).astype(np.float32) for each in SEQUENCES}
        facts = {
            "case": f"p{number}",
            "patient": f"p{number}",
            "sequences": [each.value for each in SEQUENCES],
            "label_kind": LabelKind.FULL.value,
            "bbb_disrupted": bool(number),
            "affine": np.eye(4).tolist(),
            "native": {},
            "greys": {},
        }
        path = folder / f"p{number}.safetensors"
        write_case(path, {**greys, "brain": brain, "labels": labels}, facts)
        cases.append(open_case(path))
    return CaseStore(cases, SEQUENCES)
