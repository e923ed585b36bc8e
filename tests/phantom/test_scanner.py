"""The scanner: slices, noise and bias of known size."""

from __future__ import annotations

import numpy as np
import pytest

from simulations.phantom.fields import Grid, make_grid
from simulations.phantom.scanner import expose, plan_acquisition, slice_profile
from simulations.scenario import Protocol, Scanner

ECHO = Protocol(equation="spin-echo", tr_ms=500, te_ms=10)
FLAIR = Protocol(equation="flair", tr_ms=9000, te_ms=110, ti_ms=2480)
GRID = Grid(2.0, (0.0, 0.0, 0.0), (40.0, 40.0, 40.0))


def scanner(**changed: float) -> Scanner:
    facts = {"field_tesla": 3.0, "snr": 20.0, "bias": 0.0, "intensity": 1000.0} | changed
    return Scanner.model_validate(facts | {"protocols": {"T1": ECHO, "T2": ECHO, "FLAIR": FLAIR}})


def full() -> np.ndarray:
    return np.ones(GRID.shape, dtype=bool)


def test_a_five_millimetre_slice_averages_two_and_a_half_voxels() -> None:
    profile = slice_profile(GRID, 5.0)
    assert profile is not None
    np.testing.assert_allclose(profile[:4, 0], [0.4, 0.4, 0.2, 0], atol=1e-6)
    np.testing.assert_allclose(profile.sum(axis=0), 1, rtol=1e-6)


def test_slices_as_thin_as_voxels_are_left_alone() -> None:
    assert slice_profile(GRID, 2.0) is None
    assert slice_profile(GRID, None) is None


def test_noise_has_the_deviation_that_the_snr_says() -> None:
    plan = plan_acquisition(GRID, scanner(), full(), full())
    image = expose(np.random.default_rng(0), scanner(), plan, np.full(GRID.shape, 0.5, np.float32), 0.5, False)
    assert image.std() / image.mean() == pytest.approx(1 / 20, rel=0.05)


def test_air_holds_the_rayleigh_mean_of_the_noise() -> None:
    nothing = np.zeros(GRID.shape, dtype=np.float32)
    plan = plan_acquisition(GRID, scanner(), full(), full())
    image = expose(np.random.default_rng(0), scanner(), plan, nothing, 1.0, with_air=True)
    gain = np.random.default_rng(0).normal(1.0, 0.06)
    assert image.mean() == pytest.approx(gain * 1000 / 20 * np.sqrt(np.pi / 2), rel=0.05)


def test_a_uniform_brain_keeps_its_edge_through_thick_slices_and_blur() -> None:
    brain = np.zeros(GRID.shape, dtype=bool)
    brain[5:15, 5:15, 4:17] = True
    thick = scanner(slice_thickness_mm=5.0, blur_mm=3.0, snr=200.0)
    plan = plan_acquisition(GRID, thick, brain, brain)
    image = expose(np.random.default_rng(0), thick, plan, brain.astype(np.float32), 1.0, False)
    assert image[plan.brain].std() < 0.02 * image[plan.brain].mean()
    assert not image[~plan.brain].any()


def test_bias_varies_smoothly_with_its_strength() -> None:
    strong = scanner(bias=0.4, snr=200.0)
    plan = plan_acquisition(GRID, strong, full(), full())
    image = expose(np.random.default_rng(0), strong, plan, np.ones(GRID.shape, np.float32), 1.0, False)
    assert image.std() / image.mean() > 0.1


def test_a_tilted_stack_stays_rigid_and_centred() -> None:
    grid = make_grid(2.0)
    brain = np.ones(grid.shape, dtype=bool)
    affine = plan_acquisition(grid, scanner(tilt_deg=-10.0), brain, brain).affine
    np.testing.assert_allclose(affine[:3, :3].T @ affine[:3, :3], 4 * np.eye(3), atol=1e-9)
    assert affine[1, 2] == pytest.approx(2 * np.sin(np.deg2rad(10)))
