"""Two toy patients on a toy grid, and models simple enough to know what they must score."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch

from client.data.cache import LabelKind, open_case, write_case
from common.sequences import STRUCTURAL, Domain, Sequence, with_twins
from simulations.comparison.subject import Pencil, Subject

GREYS = {Sequence.T1: 100.0, Sequence.T1GD: 110.0, Sequence.T2: 180.0, Sequence.FLAIR: 140.0, Sequence.ADC: 90.0}
"""Mean grey of each sequence inside the toy brain; every sequence rises by the same ramp."""

SHAPE = (4, 32, 32)


def values(greys):
    return (np.asarray(greys) / 127.5 - 1).astype(np.float32)


@dataclass
class Toy:
    """Writes toy cases into a cache folder."""

    folder: object

    def case(self, name, *, disrupted=True, sequences=STRUCTURAL, label_kind=LabelKind.FULL):
        """A square brain with a ramp of greys, a lesion of oedema around a core, bright in T1Gd where disrupted."""
        brain = np.zeros(SHAPE, dtype=np.uint8)
        brain[:, 4:28, 4:28] = 1
        labels = np.zeros(SHAPE, dtype=np.uint8)
        labels[1:3, 10:18, 10:18] = 2
        labels[1:3, 12:16, 12:16] = 4 if disrupted else 1
        ramp = np.broadcast_to(np.linspace(-20, 20, 32), SHAPE)
        arrays = {"brain": brain, "labels": labels}
        for sequence in sequences:
            greys = GREYS[sequence] + ramp
            if sequence is Sequence.T1GD and disrupted:
                greys = np.where(labels == 4, greys + 60, greys)
            arrays[sequence.value] = values(np.where(brain, greys, 0))
        facts = {
            "case": name,
            "patient": name,
            "sequences": [sequence.value for sequence in sequences],
            "label_kind": label_kind.value,
            "bbb_disrupted": disrupted,
            "affine": np.diag([2.0, 2.0, 4.0, 1.0]).tolist(),
            "native": {},
            "greys": {},
        }
        path = self.folder / f"{name}.safetensors"
        write_case(path, arrays, facts)
        return open_case(path)

    def subject(self, site, name, **how):
        case = self.case(name, **how)
        return Subject(site, case, case)


class ShiftingGenerator:
    """Knows the mean grey of each sequence, and draws a target by shifting its source by `error` too much."""

    def __init__(self, sites=("a", "b"), error=0.0):
        self.domains = with_twins(tuple(Domain(site, sequence) for site in sites for sequence in GREYS))
        self.error = error

    def translate(self, image, target):
        drawn = torch.empty_like(image)
        for row, number in enumerate(target.tolist()):
            greys = (image[row] + 1) * 127.5
            inside = greys > 20
            means = torch.tensor(sorted(GREYS.values()))
            nearest = means[(means - greys[inside].mean()).abs().argmin()]
            shifted = greys - nearest + GREYS[self.domains[number].sequence] + self.error
            drawn[row] = torch.where(inside, shifted, 0) / 127.5 - 1
        return drawn


@pytest.fixture
def toy(tmp_path):
    return Toy(tmp_path)


@pytest.fixture
def perfect():
    generator = ShiftingGenerator()
    return Pencil(generator, generator.domains, "a")


@pytest.fixture
def sloppy():
    generator = ShiftingGenerator(error=5.0)
    return Pencil(generator, generator.domains, "a")
