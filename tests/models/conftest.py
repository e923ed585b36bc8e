"""Toy cases on disk and stand-ins for frozen models: small enough that a step takes milliseconds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from client.data.cache import CachedCase, LabelKind, open_case, write_case
from client.data.dataset import CaseStore
from common.sequences import STRUCTURAL, Domain, Sequence
from common.study import Study, parse_study

HEIGHT, WIDTH, DEPTH = 32, 48, 4

STUDY = """
schema_version = 1
name = "toy"
sites = ["a"]
reference_site = "a"
[stages.generator]
[stages.synthesiser]
batch_size = 4
diffusion_steps = 100
sampling_steps = 2
learning_rate = 0.002
[stages.segmenter]
batch_size = 4
learning_rate = 0.003
[stages.identifier]
batch_size = 4
"""

MakeCase = Callable[..., CachedCase]


class CopyingGenerator(nn.Module):
    """A generator whose fill is its source, slightly darker, so that a fill can be told from a real image."""

    domains = tuple(Domain("a", sequence) for sequence in STRUCTURAL)

    def translate(self, image: Tensor, target: Tensor) -> Tensor:
        return image - 0.01


@pytest.fixture
def study() -> Study:
    return parse_study(STUDY)


@pytest.fixture
def generator_model() -> nn.Module:
    return CopyingGenerator()


@pytest.fixture
def make_case(tmp_path: Path) -> MakeCase:
    """Return a maker of cases: a disc of brain with a square tumour whose core enhances in T1Gd where disrupted."""

    def make(
        name: str,
        sequences: tuple[Sequence, ...] = STRUCTURAL,
        label_kind: LabelKind = LabelKind.FULL,
        bbb: bool | None = True,
        enhances: bool = True,
    ) -> CachedCase:
        noise = np.random.default_rng(sum(name.encode()))
        brain = np.zeros((DEPTH, HEIGHT, WIDTH), np.uint8)
        brain[:, 4:-4, 4:-4] = 1
        labels = np.zeros_like(brain)
        if label_kind is not LabelKind.NONE:
            labels[1:3, 8:20, 10:24] = 2
            labels[1:3, 12:16, 14:20] = 4 if enhances else 1
        whole, core = labels > 0, (labels == 1) | (labels == 4)
        greys = {
            Sequence.T1: 0.1 - 0.2 * whole,
            Sequence.T1GD: 0.1 - 0.2 * whole + 0.8 * (core & enhances),
            Sequence.T2: 0.0 + 0.5 * whole,
            Sequence.FLAIR: 0.0 + 0.6 * whole,
            Sequence.ADC: -0.6 + 0.3 * whole,
            Sequence.CBV: -0.8 + 0.5 * (core & enhances),
        }
        arrays = {
            sequence.value: np.where(brain > 0, greys[sequence] + 0.02 * noise.standard_normal(brain.shape), -1).astype(
                np.float32
            )
            for sequence in sequences
        }
        if label_kind is LabelKind.WHOLE:
            labels = (labels > 0).astype(np.uint8)
        facts = {
            "case": name,
            "patient": name,
            "sequences": [sequence.value for sequence in sequences],
            "label_kind": label_kind.value,
            "bbb_disrupted": bbb,
            "affine": np.diag([2.4, 2.4, 4.0, 1.0]).tolist(),
            "native": {},
            "greys": {},
        }
        path = tmp_path / "cache" / f"{name}.safetensors"
        write_case(path, {**arrays, "brain": brain, "labels": labels}, facts)
        return open_case(path)

    return make


@pytest.fixture
def full_store(make_case: MakeCase) -> CaseStore:
    """Two complete cases, one with and one without enhancement."""
    cases = [make_case("p1"), make_case("p2", bbb=False, enhances=False)]
    return CaseStore(cases, STRUCTURAL)


@pytest.fixture
def rng() -> torch.Generator:
    return torch.Generator().manual_seed(0)
