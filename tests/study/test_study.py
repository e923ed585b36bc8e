"""A study is parsed strictly, and every refusal names the line to change."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from common.errors import StudyError
from common.settings.stages import Stage
from common.study import MAX_STUDY_BYTES, code_version, load_study, parse_study

GOOD = """name = "three"
sites = ["a", "b"]
reference_site = "a"
[federation]
quorum = 2
[stages.generator]
rounds = 2
[stages.segmenter]
"""


def changed(old: str, new: str) -> str:
    assert old in GOOD
    return GOOD.replace(old, new)


def test_stages_come_in_the_order_in_which_they_run():
    assert parse_study(GOOD).stages.present == (Stage.GENERATOR, Stage.SEGMENTER)


def test_folds_and_calibration_follow_from_their_family_and_are_not_released():
    text = GOOD.replace("[stages.segmenter]", "cross_fit = true\n[stages.synthesiser]\n[stages.segmenter]")
    stages = parse_study(text + "[stages.identifier]\n").stages
    assert stages.present == tuple(stage for stage in Stage if stage is not Stage.MAPS)
    assert stages.of(Stage.GENERATOR_FOLD_1) == stages.of(Stage.GENERATOR_FOLD_2) == stages.generator
    assert not {Stage.GENERATOR_FOLD_1, Stage.GENERATOR_FOLD_2, Stage.CALIBRATION} & set(stages.released)
    without = parse_study(text.replace("cross_fit = true", "") + "[stages.identifier]\nvalidation_fraction = 0.0\n")
    assert without.stages.present == without.stages.released


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        (changed("rounds = 2", "roundz = 2"), 7, "unknown key"),
        (changed("rounds = 2", 'rounds = "2"'), 7, "valid integer"),
        (changed("rounds = 2", "rounds = 0"), 7, "greater than or equal to 1"),
        (changed("quorum = 2", "quorum = 3"), 5, "can never be reached"),
        (changed("quorum = 2", 'required = ["c"]'), 5, "not among sites"),
        (changed('reference_site = "a"', 'reference_site = "c"'), 3, "not among sites"),
        (changed('["a", "b"]', '["a", "a"]'), 2, "named twice"),
        (changed('["a", "b"]', '["a", "../b"]'), 2, "lower-case"),
        (changed("[federation]", 'sequences = ["T9"]\n[federation]'), 4, "T1"),
        (changed("[federation]", 'sequences = ["T1"]\n[federation]'), 9, "needs T1, T1Gd, T2 and FLAIR"),
        (changed("[federation]", "[grid]\nshape = [60, 80]\n[federation]"), 4, "multiples of 8"),
        (changed("[federation]", "[grid]\nshape = [72, 80]\n[federation]"), 4, "multiples of 16"),
        (changed("[stages.segmenter]", "[stages.identifier]"), 8, "needs [stages.synthesiser]"),
        (changed("rounds = 2", "learning_rate = nan"), 7, "finite"),
        (GOOD + "dimensions = 3\n", 8, "patch: a 3-D segmenter needs one"),
        (GOOD + "patch = [64, 80, 16]\n", 9, "set dimensions = 3"),
        (GOOD + "dimensions = 3\npatch = [64, 80, 18]\n", 10, "cannot be halved evenly at every level; 16 can"),
        (GOOD + "dimensions = 3\npatch = [80, 80, 16]\n", 10, "more than the grid's 64"),
        (changed("[stages.segmenter]", "[stages.maps]"), 8, "add CBV, ADC"),
        (changed("[stages.segmenter]", '[stages.maps]\ninputs = ["T1", "CBV"]'), 9, "CBV is the target"),
        (changed("[stages.segmenter]", '[stages.maps]\ninputs = ["T1", "T1"]'), 9, "named twice"),
        (changed("[stages.segmenter]", "[stages.maps]\ninputs = []"), 9, "at least 1"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(text: str, line: int, words: str):
    with pytest.raises(StudyError) as caught:
        parse_study(text, "study.toml")
    assert words in str(caught.value)
    assert str(caught.value).startswith(f"study.toml:{line}: ")


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ('conditions = ["T1", "T1Gd"]', "T1Gd needs gadolinium"),
        ('conditions = ["CBV"]', "CBV needs gadolinium"),
        ("conditions = []", "at least 1"),
        ('conditions = ["T1", "T1"]', "named twice"),
        ('conditions = ["T1", "ADC"]', "needs T1, ADC, T1Gd among sequences"),
        ('conditions = ["T2", "FLAIR"]\ntarget = "difference"', "T1 must be among conditions"),
        ('conditions = ["T1"]\ncondition_dropout = 0.2', "the only condition is never dropped"),
        ("slices = 2", "1, 3, 5 or 7"),
        ('synthesiser = "flow"\nprediction = "noise"', 'only of synthesiser "diffusion"'),
        ('synthesiser = "flow"\nnoise_schedule = "linear"', 'only of synthesiser "diffusion"'),
        ('solver = "rk4"', 'only of synthesiser "flow"'),
        ('synthesiser = "flow"\nsampler = "dpm"', 'only of synthesiser "diffusion"'),
        ('synthesiser = "e2e"\nsamples = 5', "draws one picture"),
        ('prediction = "noise"\nsampling_steps = 1', "says nothing of the image"),
        ("diffusion_steps = 50\nsampling_steps = 60", "cannot exceed"),
    ],
)
def test_a_synthesiser_that_cannot_be_is_refused(settings: str, words: str):
    text = GOOD + "\n[stages.synthesiser]\n" + settings
    with pytest.raises(StudyError, match=re.escape(words)):
        parse_study(text)


@pytest.mark.parametrize(
    "settings",
    [
        'synthesiser = "flow"\nsolver = "midpoint"\ntarget = "difference"\nslices = 7\nsamples = 50\ndropout = 0.2',
        'synthesiser = "flow"\nsampling_steps = 100\ndiffusion_steps = 50',
        'synthesiser = "e2e"\nconditions = ["T1"]\ntarget = "difference"',
        'prediction = "velocity"\ncondition_dropout = 0.3\nuse_label = false\nconditions = ["T2", "FLAIR", "T1"]',
    ],
)
def test_the_methods_of_the_papers_can_be_named(settings: str):
    assert parse_study(GOOD + "\n[stages.synthesiser]\n" + settings).stages.synthesiser is not None


def test_all_problems_are_listed_at_once():
    text = changed("quorum = 2", "quorumm = 2").replace("rounds = 2", "rounds = -1")
    with pytest.raises(StudyError) as caught:
        parse_study(text)
    assert len(str(caught.value).splitlines()) == 2


def test_text_that_is_no_toml_is_refused():
    with pytest.raises(StudyError, match="not valid TOML"):
        parse_study("name = ")


def test_a_study_has_a_bounded_size():
    with pytest.raises(StudyError, match="KiB"):
        parse_study("#" * (MAX_STUDY_BYTES + 1))


def test_a_missing_file_is_one_clear_line(tmp_path: Path):
    with pytest.raises(StudyError, match="cannot be read"):
        load_study(tmp_path / "none.toml")


def test_the_digest_knows_the_content_and_not_the_spelling():
    respelled = changed("[federation]\nquorum = 2\n", "") + "[federation]\nquorum   =   2 # two\n"
    assert parse_study(GOOD).digest == parse_study(respelled).digest
    assert parse_study(GOOD).digest != parse_study(changed("rounds = 2", "rounds = 3")).digest


def test_defaults_written_out_are_the_same_study():
    assert parse_study(GOOD).digest == parse_study(changed("[federation]", "seed = 1\n[federation]")).digest


def test_the_code_version_names_the_release_and_the_sources():
    version, _, sources = code_version().partition("+")
    assert version.count(".") == 2
    assert len(sources) == 12


def test_the_papers_slices_of_424_pixels_are_a_grid_at_the_papers_size():
    text = changed('reference_site = "a"', 'reference_site = "a"\nsize = "paper"\ngrid.shape = [424, 424]')
    assert parse_study(text).grid.shape == (424, 424)
