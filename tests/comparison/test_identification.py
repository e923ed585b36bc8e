from dataclasses import replace

import numpy as np
import pytest

from client.inference.identify import identify_volume, with_probability
from common.metrics.platt import PlattCurve
from common.release import IdentifierFacts
from simulations.comparison.identification import Decision, compare_identification


def decision(site, disrupted, plus, minus, latent=None):
    return Decision(site, disrupted, identify_volume(np.array(plus), np.array(minus)), latent)


@pytest.fixture
def decisions():
    return [
        decision("a", True, [0.9, 0.8], [0.2, 0.1], 1.0),
        decision("a", False, [0.3, 0.2], [0.9, 0.8], -1.0),
        decision("b", True, [0.2, 0.1], [0.7, 0.6], 0.5),
        decision("b", True, [], [], 0.1),
    ]


def test_areas_are_given_over_all_and_each_site_for_identifier_and_latent(decisions):
    found = compare_identification(decisions, 0.8)
    areas = {(one.of, one.site): one.value for one in found.areas}
    assert areas == {
        ("identifier", "all"): pytest.approx(1.0),
        ("identifier", "a"): 1.0,
        ("identifier", "b"): None,
        ("shares", "all"): pytest.approx(5 / 6),  # a positive and the negative both have shares 0 and 1
        ("shares", "a"): 1.0,
        ("shares", "b"): None,
        ("latent", "all"): 1.0,
        ("latent", "a"): 1.0,
        ("latent", "b"): None,
    }


def test_an_indeterminate_patient_is_counted_with_its_reason_and_scored_as_a_tie(decisions):
    found = compare_identification(decisions, 0.8)
    assert found.indeterminate == {"no tumour found": 1}
    assert (found.decided, found.accuracy, found.coverage) == (3, pytest.approx(2 / 3), 0.75)


def test_the_brier_score_is_that_of_the_patients_with_a_probability(decisions):
    assert compare_identification(decisions, 0.8).brier is None
    given = [replace(one, result=with_probability(one.result, PlattCurve(0.0, 0.0))) for one in decisions]
    assert compare_identification(given, 0.8).brier == 0.25


def test_thresholds_are_told_with_how_they_were_found(decisions):
    facts = IdentifierFacts(slice_threshold=0.45, volume_threshold=0.5, note="best F1")
    assert compare_identification(decisions, 0.8, facts).thresholds == "slice 0.45, volume 0.5: best F1"


def test_real_patients_have_no_latent_and_no_ceiling(decisions):
    real = [Decision(one.site, one.disrupted, one.result, None) for one in decisions]
    found = compare_identification(real, None)
    assert {one.of for one in found.areas} == {"identifier", "shares"}
    assert set(found.roc) == {"identifier"}


def test_nobody_to_decide_on_is_no_success():
    found = compare_identification([], 0.8)
    assert (found.accuracy, found.decided, found.roc, found.areas) == (None, 0, {}, ())
