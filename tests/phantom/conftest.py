"""Fixtures of the phantom's tests: the shipped scenario and a few drawn patients, at 4 mm to be quick."""

from __future__ import annotations

import pytest

from simulations.phantom.cohort import draw_patients
from simulations.phantom.patient import Patient
from simulations.phantom.render import Scene, build_scene
from simulations.scenario import Scenario, load_scenario


@pytest.fixture(scope="session")
def scenario() -> Scenario:
    return load_scenario("three-hospitals")


@pytest.fixture(scope="session")
def patients(scenario: Scenario) -> tuple[Patient, ...]:
    return draw_patients(scenario, 3, seed=3)


@pytest.fixture(scope="session")
def scene(scenario: Scenario, patients: tuple[Patient, ...]) -> Scene:
    return build_scene(patients[0], scenario.sites[0].scanner, 4.0)
