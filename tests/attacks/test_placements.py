"""Placements: their mean is the area, and who is called a member only mirrors it."""

import numpy as np
import pytest

from common.attacks.placements import false_alarm_bin, placements
from common.errors import DataError
from common.metrics.classification import area_under_roc


def named(prefix, losses):
    return {f"{prefix}{number}": float(loss) for number, loss in enumerate(losses)}


def test_members_with_smaller_losses_are_placed_before_all_strangers():
    found = placements({"a": 0.1, "b": 0.2}, {"c": 0.3})
    assert found.members == {"a": 1.0, "b": 1.0} and found.strangers == {"c": 1.0}


def test_ties_count_one_half():
    assert placements({"a": 1.0}, {"b": 1.0}).members == {"a": 0.5}


def test_the_mean_placement_of_either_class_is_the_area_under_the_curve():
    generator = np.random.default_rng(1)
    known, foreign = generator.normal(0, 1, 12), generator.normal(0.5, 1, 7)
    found = placements(named("m", known), named("s", foreign))
    area = area_under_roc([*-known, *-foreign], [True] * 12 + [False] * 7).value
    assert np.mean(list(found.members.values())) == pytest.approx(area)
    assert np.mean(list(found.strangers.values())) == pytest.approx(area)


def test_members_and_strangers_swapped_mirror_the_area():
    generator = np.random.default_rng(2)
    known, foreign = named("m", generator.normal(size=9)), named("s", generator.normal(size=5))
    there, back = placements(known, foreign), placements(foreign, known)
    assert np.mean(list(there.members.values())) == pytest.approx(1 - np.mean(list(back.members.values())))


def test_a_class_of_nobody_places_nobody():
    assert placements({}, {"a": 1.0}).strangers == {}


def test_a_loss_that_is_no_number_is_refused():
    with pytest.raises(DataError, match="not finite"):
        placements({"a": float("nan")}, {"b": 1.0})


def test_a_member_is_caught_in_the_part_of_the_false_alarms_that_it_costs():
    # of ten strangers 0, 1, 2 and 10 have a smaller loss
    assert [false_alarm_bin(1 - beaten / 10, 10) for beaten in (0, 1, 2, 10)] == [0, 0, 1, 9]
