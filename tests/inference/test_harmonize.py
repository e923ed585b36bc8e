"""Harmonization: the reference centre's style, or the next best one, for known and unknown sites."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from client.inference.fill import Redrawer
from client.inference.harmonize import harmonize_volumes
from common.sequences import Domain, Sequence, with_twins


class Painter:
    """Draws domain number d as a constant d / 10."""

    domains = with_twins((Domain("a", Sequence.T1), Domain("b", Sequence.T1), Domain("b", Sequence.T2)))

    def translate(self, image: Tensor, target: Tensor) -> Tensor:
        return image * 0 + target[:, None, None, None] / 10


IMAGES = {sequence: np.full((2, 4, 4), 0.3, np.float32) for sequence in (Sequence.T1, Sequence.T2, Sequence.ADC)}
BRAIN = np.ones((2, 4, 4), np.uint8)
BRAIN[:, 0, 0] = 0


def test_a_known_site_is_drawn_as_the_reference_centre():
    found = harmonize_volumes(Redrawer(Painter(), IMAGES, BRAIN), "b", "a")
    assert found[Sequence.T1].domain == Domain("a", Sequence.T1)
    assert np.allclose(found[Sequence.T1].slices[:, 1:], 0)
    assert (found[Sequence.T1].slices[:, 0, 0] == -1).all()


def test_the_reference_centre_is_left_alone():
    found = harmonize_volumes(Redrawer(Painter(), IMAGES, BRAIN), "a", "a")[Sequence.T1]
    assert found.unchanged
    assert np.array_equal(found.slices, IMAGES[Sequence.T1])


def test_an_unknown_site_is_drawn_like_any_other():
    known = harmonize_volumes(Redrawer(Painter(), IMAGES, BRAIN), "b", "a")[Sequence.T1]
    unknown = harmonize_volumes(Redrawer(Painter(), IMAGES, BRAIN), None, "a")[Sequence.T1]
    assert np.array_equal(known.slices, unknown.slices)


def test_where_the_reference_lacks_a_sequence_another_site_stands_in():
    found = harmonize_volumes(Redrawer(Painter(), IMAGES, BRAIN), "a", "a")
    assert found[Sequence.T2].domain == Domain("b", Sequence.T2)
    assert Sequence.ADC not in found
