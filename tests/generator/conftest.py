"""A site of toy cases: two registered sequences, T2 the negative of T1, with a square lesion."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from client.data.cache import CachedCase, open_case, write_case
from client.data.dataset import CaseStore
from common.sequences import Domain, Sequence, with_twins
from common.study import Study, parse_study

STUDY = """
name = "toy"
sites = ["a", "b"]
reference_site = "a"
[grid]
spacing_mm = [4.8, 4.8, 6.0]
shape = [32, 32]
[data]
pairs = "{pairs}"
[stages.generator]
batch_size = 8
learning_rate = 2e-3
first_weights = "uniform"
adam_beta_1 = 0.5
r1_every = 4
{more}
"""


def toy_study(pairs: str = "use", more: str = "") -> Study:
    return parse_study(STUDY.format(pairs=pairs, more=more))


def toy_domains() -> tuple[Domain, ...]:
    return with_twins(tuple(Domain(site, s) for site in ("a", "b") for s in (Sequence.T1, Sequence.T2)))


def toy_case(folder: Path, name: str, sequences: tuple[Sequence, ...], seed: int) -> CachedCase:
    rng = np.random.default_rng(seed)
    brain = np.zeros((6, 32, 32), np.uint8)
    brain[:, 6:26, 6:26] = 1
    labels = np.zeros_like(brain)
    labels[2:4, 10:15, 10:15] = 2
    grey = np.clip(rng.normal(0.2, 0.15, brain.shape) + 0.4 * labels, -0.9, 0.9)
    pictures = dict.fromkeys(Sequence, grey) | {Sequence.T2: -grey, Sequence.FLAIR: grey / 2}
    arrays = {s.value: np.where(brain > 0, pictures[s], -1).astype(np.float32) for s in sequences}
    facts = {
        "case": name,
        "patient": name,
        "sequences": [s.value for s in sequences],
        "label_kind": "full",
        "bbb_disrupted": True,
        "affine": np.eye(4).tolist(),
        "native": {},
        "greys": {},
    }
    path = folder / f"{name}.safetensors"
    write_case(path, {**arrays, "brain": brain, "labels": labels}, facts)
    return open_case(path)


@pytest.fixture
def make_study() -> Callable[..., Study]:
    return toy_study


@pytest.fixture
def domains() -> tuple[Domain, ...]:
    return toy_domains()


@pytest.fixture
def make_store(tmp_path: Path) -> Callable[..., CaseStore]:
    """Return a function from each patient's sequences to a store."""

    def make(*patients: tuple[Sequence, ...]) -> CaseStore:
        cases = [toy_case(tmp_path, f"p{n}", sequences, n) for n, sequences in enumerate(patients)]
        return CaseStore(cases, tuple(Sequence))

    return make
