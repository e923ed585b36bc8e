from common.settings.stages import Stage
from simulations.scale import SCALES, Scale, scaled


def test_tiny_is_the_study_as_written(study):
    assert scaled(study, SCALES["tiny"]) == study


def test_a_scale_multiplies_the_rounds_of_every_stage_and_nothing_else(study):
    grown = scaled(study, Scale(rounds=4, patients=1))
    assert (grown.stages.of(Stage.GENERATOR).rounds, grown.stages.of(Stage.SYNTHESISER).rounds) == (12, 8)
    assert grown.stages.of(Stage.GENERATOR).local_steps == 10
    assert grown.stages.present == study.stages.present
    assert grown.digest != study.digest


def test_a_stage_keeps_at_least_one_round(study):
    assert scaled(study, Scale(rounds=0.01, patients=1)).stages.of(Stage.SYNTHESISER).rounds == 1


def test_small_is_larger_than_tiny():
    assert SCALES["small"].rounds > SCALES["tiny"].rounds == 1
    assert SCALES["small"].patients >= SCALES["tiny"].patients == 1
