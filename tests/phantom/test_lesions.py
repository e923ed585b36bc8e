"""Gliomas: oedema follows white matter, parts add up, and only uptake and names know the BBB status."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from simulations.phantom.anatomy import Anatomy
from simulations.phantom.fields import Grid
from simulations.phantom.lesions import travel_time
from simulations.phantom.patient import Patient
from simulations.phantom.render import Scene, build_scene, flair_variation, render
from simulations.phantom.tissue import Compartment, Tissue
from simulations.scenario import Scenario


def block(size: int = 21) -> Anatomy:
    """A cube of white matter at 2 mm whose right half, from I = 11, is fluid."""
    grid = Grid(2.0, (0.0, 0.0, 0.0), (2.0 * size,) * 3)
    voxels = np.arange(size**3)
    fractions = np.zeros((len(Tissue), size**3), dtype=np.float32)
    right = np.unravel_index(voxels, grid.shape)[0] > size // 2
    fractions[Tissue.WHITE], fractions[Tissue.CSF] = ~right, right
    points = np.zeros((3, size**3), dtype=np.float32)
    return Anatomy(grid, voxels, np.ones(size**3, dtype=bool), fractions, points, points[0])


def test_oedema_travels_through_white_matter_at_a_millimetre_a_millimetre_and_not_through_fluid() -> None:
    anatomy = block()
    core = np.zeros(anatomy.grid.shape, dtype=bool)
    core[10, 10, 10] = True
    arrival = travel_time(anatomy, core.ravel(), 20.0).reshape(anatomy.grid.shape)
    assert arrival[10, 10, 10] == 0
    assert arrival[5, 10, 10] == pytest.approx(10, rel=0.1)
    assert arrival[10, 10, 14] == pytest.approx(8, rel=0.15)
    assert np.isinf(arrival[15, 10, 10])


def test_without_a_core_no_oedema_arrives() -> None:
    anatomy = block(5)
    assert np.isinf(travel_time(anatomy, np.zeros(125, dtype=bool), 10.0)).all()


def test_parts_of_a_lesion_fill_no_more_than_a_voxel(scene: Scene) -> None:
    assert scene.lesion.parts.min() >= 0
    assert scene.lesion.parts.sum(axis=0).max() <= 1 + 1e-5
    assert scene.lesion.parts[Compartment.SOLID].max() > 0.8


def test_a_disrupted_barrier_lets_twenty_times_more_agent_in(scene: Scene) -> None:
    open_, closed = (scene.lesion.concentration(disrupted) for disrupted in (True, False))
    assert np.all(open_ >= closed)
    assert np.median(open_[scene.lesion.leak > 0.9]) > 10 * np.median(closed)


def test_labels_differ_by_the_name_of_enhancing_tissue_alone(scenario: Scenario, patients: tuple[Patient, ...]) -> None:
    scanner = scenario.sites[0].scanner
    for patient in patients[:3]:
        open_, closed = (render(replace(patient, bbb_disrupted=b), scanner, (), 4.0).labels for b in (True, False))
        assert 4 not in closed and 4 in open_
        np.testing.assert_array_equal(open_ > 0, closed > 0)
        np.testing.assert_array_equal(open_ == 2, closed == 2)


def test_flair_varies_in_the_lesion_as_the_patient_s_trait_says(
    scenario: Scenario, patients: tuple[Patient, ...]
) -> None:
    for patient in patients:
        scanner = scenario.site(patient.site).scanner
        found = flair_variation(build_scene(patient, scanner, 4.0), scanner)
        assert found == pytest.approx(patient.tumour.flair_variation, abs=0.02)
        assert 0.12 <= found <= 0.28


def test_the_latent_brightens_solid_tumour(scenario: Scenario, patients: tuple[Patient, ...]) -> None:
    scanner = scenario.sites[0].scanner
    low, high = (build_scene(replace(patients[0], latent=a), scanner, 4.0).diseased for a in (-2.0, 2.0))
    solid = Compartment.SOLID
    assert np.median(high.t2_ms[solid]) > 1.4 * np.median(low.t2_ms[solid])
    assert np.median(high.t1_ms[solid]) < 0.8 * np.median(low.t1_ms[solid])
