"""Individual anatomy: one-to-one deformation, mass effect, tissue that adds up, nuclei and skull."""

from __future__ import annotations

import numpy as np
import pytest

from simulations.phantom.anatomy import SMALLEST_JACOBIAN, MassEffect, build_anatomy, push, smallest_jacobian, warp
from simulations.phantom.fields import make_grid
from simulations.phantom.template import CAUDATE, PUTAMEN, THALAMUS, load_template
from simulations.phantom.tissue import Tissue

MASS = MassEffect((30.0, 0.0, 20.0), 20.0, 0.8)


@pytest.mark.parametrize(
    ("channel", "point_mm"), [(CAUDATE, (13, 14, 6)), (PUTAMEN, (26, 3, 1)), (THALAMUS, (11, -18, 7))]
)
def test_deep_nuclei_lie_on_both_sides_at_their_coordinates(channel: int, point_mm: tuple[int, int, int]) -> None:
    template = load_template(2.0)
    for side in (1, -1):
        point = np.array([[side * point_mm[0]], [point_mm[1]], [point_mm[2]]], dtype=np.float32)
        i, j, k = np.rint(template.index(point)[:, 0]).astype(int)
        assert template.fractions[channel, i, j, k] > 0.8


def test_the_template_s_tissue_never_exceeds_a_voxel() -> None:
    fractions = load_template(4.0).fractions[:7]
    assert fractions.min() >= -1e-6
    assert fractions.sum(axis=0).max() <= 1 + 1e-5


@pytest.mark.parametrize("seed", range(4))
def test_deformations_are_one_to_one(seed: int) -> None:
    grid = make_grid(4.0)
    points = warp(np.random.default_rng(seed), grid)
    assert smallest_jacobian(np.zeros((3, 3), np.float32), points, grid.spacing_mm) >= SMALLEST_JACOBIAN * 0.9


def test_a_stretch_by_two_has_a_jacobian_of_eight() -> None:
    none = np.zeros((3, 6, 6, 6), dtype=np.float32)
    assert smallest_jacobian(2 * np.eye(3, dtype=np.float32), none, 4.0) == pytest.approx(8)


def test_mass_effect_conserves_the_volume_between_tissue_and_tumour() -> None:
    points = np.array([[30.0 + 40], [0.0], [20.0]], dtype=np.float32)
    source = push(points, np.array([60.0], dtype=np.float32), MASS)
    assert source[0, 0] - 30 == pytest.approx((40**3 - 0.8 * 20**3) ** (1 / 3), rel=1e-4)


def test_the_brain_s_surface_does_not_move_under_mass_effect() -> None:
    points = np.array([[60.0], [0.0], [20.0]], dtype=np.float32)
    np.testing.assert_allclose(push(points, np.zeros(1, dtype=np.float32), MASS), points)


def test_fractions_sum_to_one_and_brains_have_a_human_volume() -> None:
    for seed in range(3):
        anatomy = build_anatomy(np.random.default_rng(seed), make_grid(4.0), load_template(4.0), MASS)
        np.testing.assert_allclose(anatomy.fractions.sum(axis=0), 1, atol=1e-4)
        assert anatomy.fractions.min() > -1e-5
        assert 1.0 < anatomy.brain.sum() * 4.0**3 / 1e6 < 2.0


def test_two_patients_differ_and_one_patient_stays() -> None:
    first, again, other = (
        build_anatomy(np.random.default_rng(seed), make_grid(4.0), load_template(4.0), None) for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first.fractions, again.fractions)
    assert first.fractions.shape != other.fractions.shape or not np.allclose(first.fractions, other.fractions)


def test_cortex_has_folds_of_its_own() -> None:
    anatomy = build_anatomy(np.random.default_rng(1), make_grid(2.0), load_template(2.0), None)
    shallow = (anatomy.depth_mm > 4) & (anatomy.depth_mm < 10)
    assert (anatomy.fractions[Tissue.CSF][shallow] > 0.4).mean() > 0.02


def test_a_head_wraps_the_same_brain_in_fluid_bone_and_fat() -> None:
    head = build_anatomy(np.random.default_rng(1), make_grid(4.0, True), load_template(4.0), None, with_skull=True)
    outside = ~head.brain
    assert outside.sum() > 0.3 * head.brain.sum()
    for tissue in (Tissue.BONE, Tissue.MARROW, Tissue.FAT, Tissue.MUSCLE):
        assert head.fractions[tissue][outside].max() > 0.5
        assert head.fractions[tissue][head.brain].max() < 1e-5
    assert len(head.voxels) < np.prod(head.grid.shape)
