"""The volume rule of the identifier, by hand-checked numbers, and the windows it looks through."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from torch import Tensor

from client.inference.identify import (
    DISAGREEMENT,
    NO_TUMOUR,
    TIE,
    UNCERTAIN,
    identify_case,
    identify_volume,
    slice_probabilities,
    tumour_slices,
    tumour_windows,
    with_probability,
)
from common.metrics.platt import PlattCurve


def _probabilities(*values: float) -> np.ndarray:
    return np.array(values, dtype=np.float32)


def test_shares_of_consistent_slices_go_through_the_softmax() -> None:
    result = identify_volume(_probabilities(0.9, 0.6, 0.4, 0.5), _probabilities(0.1, 0.2, 0.7, 0.3))
    assert (result.consistency_enhancing, result.consistency_non_enhancing) == (0.75, 0.25)
    assert result.relative_enhancing == pytest.approx(math.exp(0.75) / (math.exp(0.75) + math.exp(0.25)))
    assert (result.status, result.reason, result.decided_by, result.slices) == ("disrupted", None, "shares", 4)
    assert result.score == pytest.approx(0.6 - 0.325)


def test_a_higher_volume_threshold_asks_for_more() -> None:
    sure, unsure = _probabilities(0.9, 0.9), _probabilities(0.1, 0.9)
    assert identify_volume(sure, unsure).status == "disrupted"  # relative 0.62
    assert identify_volume(sure, unsure, volume_threshold=0.7).status == "intact"


def test_the_slice_threshold_itself_counts_as_consistent() -> None:
    result = identify_volume(_probabilities(0.5), _probabilities(0.49))
    assert result.consistency_enhancing == 1.0 and result.consistency_non_enhancing == 0.0


def test_equal_shares_are_decided_by_the_means() -> None:
    result = identify_volume(_probabilities(0.6, 0.6), _probabilities(0.9, 0.8))
    assert (result.status, result.decided_by, result.relative_enhancing) == ("intact", "means", 0.5)


def test_equal_shares_and_equal_means_are_a_tie() -> None:
    result = identify_volume(_probabilities(0.6, 0.7), _probabilities(0.66, 0.65))
    assert (result.status, result.reason, result.decided_by) == ("indeterminate", TIE, None)


def test_without_a_tumour_there_is_no_status_and_no_number() -> None:
    result = identify_volume(_probabilities(), _probabilities())
    assert (result.status, result.reason, result.slices) == ("indeterminate", NO_TUMOUR, 0)
    assert result.relative_enhancing is None and result.score == 0.0


def test_windows_are_centred_on_the_tumour_and_stay_within_the_slice() -> None:
    tumour = np.zeros((3, 16, 20), np.float32)
    tumour[1, 7:10, 9:12] = 0.9
    tumour[2, 0:3, 17:20] = 0.9
    images = np.broadcast_to(np.arange(320, dtype=np.float32).reshape(16, 20), (1, 3, 16, 20))
    assert tumour_slices(tumour).tolist() == [1, 2]
    windows = tumour_windows(images, tumour)
    assert windows.shape == (1, 2, 8, 10)
    assert windows[0, 0, 4, 5] == 8 * 20 + 10  # the tumour's middle is the window's
    assert windows[0, 1, 0, 0] == 0 * 20 + 10  # shifted back into the upper right corner


def test_a_case_is_judged_on_the_slices_of_its_tumour_alone() -> None:
    images = np.zeros((4, 3, 16, 20), np.float32)
    images[2] = 0.5  # the enhancing hypothesis is what this identifier likes
    tumour = np.zeros((3, 16, 20), np.float32)
    tumour[1, 4:8, 4:8] = 1

    def likes_bright(x: Tensor) -> Tensor:
        return (x[:, 2].mean((1, 2)) - 0.25) * 20

    result = identify_case(likes_bright, images, tumour)
    assert (result.status, result.slices) == ("disrupted", 1)
    assert result.mean_enhancing == pytest.approx(torch.tensor(5.0).sigmoid().item(), abs=1e-6)
    assert identify_case(likes_bright, images, np.zeros_like(tumour)).reason == NO_TUMOUR


def test_a_probability_needs_a_calibration_and_a_decision() -> None:
    judged = identify_volume(_probabilities(0.9, 0.8), _probabilities(0.3, 0.2))  # score 0.6
    assert with_probability(judged, None, 0.4) == judged
    assert with_probability(judged, PlattCurve(2.0, -1.2)).probability == pytest.approx(0.5)
    tie = identify_volume(_probabilities(0.6), _probabilities(0.6))
    assert with_probability(tie, PlattCurve(2.0, 0.0)) == tie


def test_a_probability_near_one_half_decides_nothing_and_is_told() -> None:
    judged = identify_volume(_probabilities(0.9, 0.8), _probabilities(0.3, 0.2))
    result = with_probability(judged, PlattCurve(1.0, -0.5), abstain_margin=0.1)
    assert (result.status, result.reason, result.decided_by) == ("indeterminate", UNCERTAIN, None)
    assert result.probability == pytest.approx(1 / (1 + math.exp(-0.1)))
    assert result.score == judged.score


@pytest.mark.parametrize(("plus", "minus"), [((0.6, 0.6, 0.6), (0.9, 0.9, 0.4)), ((0.9, 0.9, 0.4), (0.6, 0.6, 0.6))])
def test_a_decision_that_the_probability_contradicts_is_none(plus: tuple[float, ...], minus: tuple[float, ...]) -> None:
    judged = identify_volume(_probabilities(*plus), _probabilities(*minus))  # more slices, but the lower mean
    assert judged.decided_by == "shares" and (judged.score < 0) == (judged.status == "disrupted")
    result = with_probability(judged, PlattCurve(5.0, 0.0))
    assert (result.status, result.reason, result.decided_by) == ("indeterminate", DISAGREEMENT, None)
    assert (result.probability < 0.5) == (judged.status == "disrupted")
    assert with_probability(judged, PlattCurve(5.0, 0.0), abstain_margin=0.3).reason == UNCERTAIN
    assert with_probability(judged, PlattCurve(5.0, 0.0)).score == judged.score


def test_a_wider_margin_never_decides_more_cases() -> None:
    chance = np.random.default_rng(0)
    judged = [identify_volume(chance.uniform(size=5), chance.uniform(size=5)) for _ in range(40)]

    def decided(margin: float) -> set[int]:
        found = [with_probability(result, PlattCurve(3.0, 0.2), margin) for result in judged]
        return {number for number, result in enumerate(found) if result.status != "indeterminate"}

    sets = [decided(margin) for margin in np.linspace(0, 0.49, 15)]
    assert all(later <= earlier for earlier, later in itertools.pairwise(sets))
    assert len(sets[0]) > len(sets[-1])


def test_the_plain_classifier_sees_the_mean_and_says_the_status_itself() -> None:
    windows = np.zeros((4, 3, 4, 4), np.float32)
    windows[2], windows[3] = 0.6, 0.2

    def likes_bright(x: Tensor) -> Tensor:
        return x[:, 2].mean((1, 2))

    disrupted, intact = slice_probabilities(likes_bright, windows, contrastive=False)
    assert disrupted == pytest.approx(torch.tensor(0.4).sigmoid().item())
    assert disrupted + intact == pytest.approx(1)
