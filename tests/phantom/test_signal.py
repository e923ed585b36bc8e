"""Signal equations against values that one can work out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from simulations.phantom.signal import fluid_attenuated, mprage, spin_echo, spoiled_gradient_echo, weighted_signal
from simulations.phantom.tissue import Tissue, TissueValues, normal_values
from simulations.scenario import Protocol


def tissue(
    t1_ms: float = 1000.0, t2_ms: float = 100.0, density: float = 0.8, gadolinium_mm: float = 0.0
) -> TissueValues:
    numbers = (t1_ms, t2_ms, density, 1.0, 1.0, gadolinium_mm)
    return TissueValues(*(np.array([number], dtype=np.float32) for number in numbers))


def test_a_spin_echo_of_one_t1_and_one_t2_keeps_what_the_exponentials_say() -> None:
    assert spin_echo(tissue(), 1000, 100)[0] == pytest.approx(0.8 * (1 - np.exp(-1)) * np.exp(-1), rel=1e-5)


def test_flair_nulls_fluid_at_its_inversion_time_and_is_negative_before() -> None:
    null_ms = 4000 * np.log(2)
    assert fluid_attenuated(tissue(4000), 1e6, 0, null_ms)[0] == pytest.approx(0, abs=1e-5)
    assert fluid_attenuated(tissue(4000), 1e6, 0, 0.5 * null_ms)[0] < 0


def test_a_right_angle_gradient_echo_is_a_saturation_recovery() -> None:
    signal = spoiled_gradient_echo(tissue(), 250, 0, np.pi / 2, 3.0)
    assert signal[0] == pytest.approx(0.8 * (1 - np.exp(-0.25)), rel=1e-5)


def test_mprage_with_vanishing_flips_is_an_inversion_recovery() -> None:
    protocol = Protocol(equation="mprage", tr_ms=2300, te_ms=1e-6, ti_ms=900, flip_deg=1e-3)
    expected = 1 - 2 * np.exp(-0.9) / (1 + np.exp(-2.3))
    signal = mprage(tissue(), protocol, 3.0)[0]
    assert signal / np.sin(np.deg2rad(1e-3)) == pytest.approx(0.8 * expected, rel=1e-3)


def test_gadolinium_adds_its_rate_to_both_relaxations() -> None:
    after = tissue(gadolinium_mm=1.0).with_gadolinium(3.0)
    assert 1000 / after.t1_ms[0] == pytest.approx(1.0 + 4.5, rel=1e-5)
    assert 1000 / after.t2_ms[0] == pytest.approx(10.0 + 6.3, rel=1e-5)


def test_no_gadolinium_changes_nothing() -> None:
    after = tissue().with_gadolinium(1.5)
    assert after.t1_ms[0] == pytest.approx(1000) and after.t2_ms[0] == pytest.approx(100)


def test_every_scanner_shows_fluid_dark_on_t1_and_flair_and_bright_on_t2(scenario) -> None:
    for site in scenario.sites:
        tesla = site.scanner.field_tesla
        shown = {s: weighted_signal(normal_values(tesla), p, tesla) for s, p in site.scanner.protocols.items()}
        white, grey, fluid = ({s: v[t] for s, v in shown.items()} for t in (Tissue.WHITE, Tissue.GREY, Tissue.CSF))
        assert fluid["T1"] < grey["T1"] < white["T1"]
        assert fluid["T2"] > grey["T2"] > white["T2"]
        assert abs(fluid["FLAIR"]) < 0.1 * white["FLAIR"]
