"""CBSI grey normalisation and its inverse."""

from __future__ import annotations

import numpy as np
import pytest

from client.imaging.intensity import GREY_TABLE, PHYSICAL_MAXIMUM, PRE_CONTRAST_SHARE, GreyScale, normalise
from common.errors import DataError
from common.sequences import Sequence

SHAPE = (20, 20, 20)
BRAIN = np.zeros(SHAPE, bool)
BRAIN[3:17, 3:17, 3:17] = True


def tissue(gain: float = 1.0, seed: int = 0) -> np.ndarray:
    """White matter at 300 (most), grey at 200, fluid at 80, with a little spread."""
    rng = np.random.default_rng(seed)
    kind = rng.choice([300.0, 200.0, 80.0], SHAPE, p=[0.6, 0.3, 0.1])
    return (gain * (kind + 5 * rng.standard_normal(SHAPE))).astype(np.float32)


@pytest.mark.parametrize("sequence", [Sequence.T1, Sequence.T1GD, Sequence.T2, Sequence.FLAIR])
def test_the_inverse_gives_back_every_voxel_that_was_not_clipped(sequence: Sequence):
    volume = tissue(gain=3.7)
    values, scale = normalise(volume, BRAIN, sequence)
    unclipped = BRAIN & (abs(values) < 1)
    assert unclipped.sum() > 0.85 * BRAIN.sum()
    np.testing.assert_allclose(scale.invert(values)[unclipped], volume[unclipped], rtol=1e-5, atol=1e-3)


def test_the_mode_lands_on_v0_and_the_spread_on_phi():
    volume = tissue()
    for sequence in (Sequence.T1, Sequence.FLAIR):
        phi, v0 = GREY_TABLE[sequence]
        values, scale = normalise(volume, BRAIN, sequence)
        grey = (values.astype(np.float64) + 1) * 127.5
        assert grey[BRAIN & (abs(volume - 300) < 2)].mean() == pytest.approx(v0, abs=2)
        unclipped = scale.scale / scale.deviation * (255 * volume[BRAIN] / scale.high - scale.centre)
        assert np.sqrt((unclipped**2).mean()) == pytest.approx(phi, rel=0.01)


def test_t2_keeps_its_greys_whichever_of_its_two_peaks_is_the_higher():
    rng = np.random.default_rng(1)
    shares = ([0.47, 0.43, 0.1], [0.43, 0.47, 0.1])
    whites = []
    for share in shares:
        kind = rng.choice([90.0, 140.0, 320.0], SHAPE, p=share)
        volume = (kind + 5 * rng.standard_normal(SHAPE)).astype(np.float32)
        values, _ = normalise(volume, BRAIN, Sequence.T2)
        whites.append(float(((values[BRAIN & (kind == 90)].astype(np.float64) + 1) * 127.5).mean()))
    assert whites[0] == pytest.approx(whites[1], abs=4)  # by the mode, 31 apart


def test_the_scanners_gain_does_not_matter():
    one, _ = normalise(tissue(), BRAIN, Sequence.T1)
    other, _ = normalise(tissue(gain=41.0), BRAIN, Sequence.T1)
    np.testing.assert_allclose(one, other, atol=1e-4)


def test_outside_the_brain_is_black():
    values, _ = normalise(tissue(), BRAIN, Sequence.FLAIR)
    assert (values[~BRAIN] == -1).all()
    assert values.dtype == np.float32


def test_one_bright_vessel_changes_nothing():
    volume = tissue()
    calm, _ = normalise(volume, BRAIN, Sequence.T1)
    volume[10, 10, 10] = 1e5
    bright, _ = normalise(volume, BRAIN, Sequence.T1)
    rest = BRAIN.copy()
    rest[10, 10, 10] = False
    np.testing.assert_allclose(bright[rest], calm[rest], atol=0.01)


def test_a_whole_numbered_scan_has_the_mode_of_its_unrounded_self():
    volume = tissue(gain=0.4)
    whole = GreyScale.fit(np.round(volume), BRAIN, Sequence.T1)
    assert whole.centre == pytest.approx(GreyScale.fit(volume, BRAIN, Sequence.T1).centre, abs=2.5)


def test_recorded_constants_undo_the_greys_of_a_filled_sequence():
    values, scale = normalise(tissue(), BRAIN, Sequence.T2)
    recorded = GreyScale(**scale.to_dict())
    np.testing.assert_array_equal(recorded.invert(values), scale.invert(values))
    np.testing.assert_array_equal(recorded.apply(tissue()), scale.apply(tissue()))


@pytest.mark.parametrize(
    ("sequence", "value", "grey"),
    [(Sequence.ADC, 1.0, 63.75), (Sequence.CBV, 3.0, 51.0), (Sequence.T1MAP, 1000.0, 51.0)],
)
def test_maps_are_drawn_on_one_fixed_scale(sequence: Sequence, value: float, grey: float):
    volume = np.full(SHAPE, value, np.float32)
    volume[4, 4, 4] = value / 2
    values, scale = normalise(volume, BRAIN, sequence)
    assert (values[10, 10, 10] + 1) * 127.5 == pytest.approx(grey, abs=1e-3)
    assert scale.invert(values)[4, 4, 4] == pytest.approx(value / 2, rel=1e-5)
    assert scale.high == PHYSICAL_MAXIMUM[sequence]


@pytest.mark.parametrize(("sequence", "factor"), [(Sequence.ADC, 1e3), (Sequence.ADC, 1e-3), (Sequence.T1MAP, 1e-3)])
def test_a_map_in_another_unit_looks_the_same(sequence: Sequence, factor: float):
    usual = np.full(SHAPE, 1.0 if sequence is Sequence.ADC else 1200.0)
    one, _ = normalise(usual.astype(np.float32), BRAIN, sequence)
    other, scale = normalise((usual * factor).astype(np.float32), BRAIN, sequence)
    np.testing.assert_allclose(one, other, atol=1e-5)
    assert scale.high == pytest.approx(PHYSICAL_MAXIMUM[sequence] * factor)


def test_nothing_to_measure_is_refused():
    with pytest.raises(DataError, match="empty or constant"):
        normalise(np.zeros(SHAPE, np.float32), BRAIN, Sequence.T1)
    with pytest.raises(DataError, match="only 0 brain voxels"):
        normalise(tissue(), np.zeros(SHAPE, bool), Sequence.T1)


def test_by_the_pre_contrast_maximum_t1_and_t1gd_keep_their_difference():
    t1 = tissue()
    t1gd = (t1 * np.where(t1 > 250, 1.4, 1.0)).astype(np.float32)
    scale = GreyScale.fit_maximum(t1, BRAIN)
    before, same = normalise(t1, BRAIN, Sequence.T1, scale)
    after, _ = normalise(t1gd, BRAIN, Sequence.T1GD, scale)
    assert same is scale
    assert (before[BRAIN].max() + 1) / 2 == pytest.approx(PRE_CONTRAST_SHARE, abs=1e-6)
    difference = scale.invert_spread(after - before)
    np.testing.assert_allclose(difference[BRAIN], (t1gd - t1)[BRAIN], rtol=1e-4, atol=0.05)
    np.testing.assert_allclose(scale.invert(after)[BRAIN], t1gd[BRAIN], rtol=1e-4)
    with pytest.raises(DataError, match="the brain is empty"):
        GreyScale.fit_maximum(np.zeros(SHAPE, np.float32), BRAIN)


def test_a_spread_in_scanner_units_is_the_spread_of_the_inverses():
    _, scale = normalise(tissue(gain=3.0), BRAIN, Sequence.T1GD)
    greys = np.array([-0.4, 0.1], np.float32)
    apart = np.diff(scale.invert(greys))
    np.testing.assert_allclose(scale.invert_spread(np.diff(greys)), apart, rtol=1e-5)


def test_a_quantitative_t1_map_is_not_rescaled_from_patient_to_patient():
    """Seed 001: a T1 map needs no normalisation; 1000 ms is the same grey in every brain, bright or dark."""
    slow = np.where(tissue() > 250, 1000.0, 4000.0).astype(np.float32)
    fast = np.where(tissue() > 250, 1000.0, 1100.0).astype(np.float32)
    greys = [normalise(volume, BRAIN, Sequence.T1MAP)[0][BRAIN & (volume == 1000)] for volume in (slow, fast)]
    np.testing.assert_allclose(np.concatenate(greys), 1000 / 5000 * 2 - 1, atol=1e-6)
