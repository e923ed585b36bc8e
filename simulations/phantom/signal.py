"""MR signal equations: tissue values and a protocol in, signed signal out, in units of full water magnetisation.

Signals keep their sign, since inverted and upright magnetisation of one voxel cancel; the scanner takes the magnitude.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from simulations.phantom.tissue import TissueValues
from simulations.scenario import Equation, Protocol

Array = NDArray[np.float32]

EXTRA_DEPHASING_PER_S = {1.5: 6.0, 3.0: 12.0}
"""R2' of tissue (assumed): 1/T2* = 1/T2 + R2'."""


def weighted_signal(values: TissueValues, protocol: Protocol, field_tesla: float) -> Array:
    """Return the signal of each entry of `values` under `protocol`."""
    match protocol.equation:
        case Equation.SPIN_ECHO:
            signal = spin_echo(values, protocol.tr_ms, protocol.te_ms)
        case Equation.FLAIR:
            signal = fluid_attenuated(values, protocol.tr_ms, protocol.te_ms, protocol.ti_ms or 0.0)
        case Equation.SPGR:
            flip = np.deg2rad(protocol.flip_deg or 0.0)
            signal = spoiled_gradient_echo(values, protocol.tr_ms, protocol.te_ms, flip, field_tesla)
        case Equation.MPRAGE:
            signal = mprage(values, protocol, field_tesla)
    return signal.astype(np.float32)


def spin_echo(values: TissueValues, tr_ms: float, te_ms: float) -> Array:
    """PD (1 − e^{−TR/T1}) e^{−TE/T2}."""
    return np.asarray(values.density * (1 - np.exp(-tr_ms / values.t1_ms)) * np.exp(-te_ms / values.t2_ms))


def fluid_attenuated(values: TissueValues, tr_ms: float, te_ms: float, ti_ms: float) -> Array:
    """PD (1 − 2 e^{−TI/T1} + e^{−TR/T1}) e^{−TE/T2}, signed."""
    recovery = 1 - 2 * np.exp(-ti_ms / values.t1_ms) + np.exp(-tr_ms / values.t1_ms)
    return np.asarray(values.density * recovery * np.exp(-te_ms / values.t2_ms))


def spoiled_gradient_echo(
    values: TissueValues, tr_ms: float, te_ms: float, flip_rad: float, field_tesla: float
) -> Array:
    """PD sin α (1 − E1) / (1 − cos α E1) e^{−TE/T2*}, E1 = e^{−TR/T1}."""
    e1 = np.exp(-tr_ms / values.t1_ms)
    steady = np.sin(flip_rad) * (1 - e1) / (1 - np.cos(flip_rad) * e1)
    return np.asarray(values.density * steady * _dephasing(values, te_ms, field_tesla))


def mprage(values: TissueValues, protocol: Protocol, field_tesla: float) -> Array:
    """Steady state of inversion, recovery, a train of small flips and recovery again; signal at the train's centre.

    Each piece maps magnetisation m to p m + q; their composition over one TR has one fixed point. TI runs from the
    inversion to the centre of the train.
    """
    flip = np.deg2rad(protocol.flip_deg or 0.0)
    half_train = protocol.echoes / 2 * protocol.echo_spacing_ms
    before = max((protocol.ti_ms or 0.0) - half_train, 0.0)
    after = max(protocol.tr_ms - before - 2 * half_train, 0.0)
    e_echo = np.exp(-protocol.echo_spacing_ms / values.t1_ms)
    step, gain = np.cos(flip) * e_echo, 1 - e_echo
    p_half = step ** (protocol.echoes / 2)
    q_half = gain * (1 - p_half) / (1 - step)
    e_before, e_after = np.exp(-before / values.t1_ms), np.exp(-after / values.t1_ms)
    p_centre = p_half * -e_before
    q_centre = p_half * (1 - e_before) + q_half
    p_end = e_after * p_half * p_centre
    q_end = e_after * (p_half * q_centre + q_half) + 1 - e_after
    at_centre = p_centre * q_end / (1 - p_end) + q_centre
    return np.asarray(values.density * np.sin(flip) * at_centre * _dephasing(values, protocol.te_ms, field_tesla))


def _dephasing(values: TissueValues, te_ms: float, field_tesla: float) -> Array:
    return np.asarray(np.exp(-te_ms * (1 / values.t2_ms + EXTRA_DEPHASING_PER_S[field_tesla] / 1000)))
