"""Ablations: arms differ in what they say, figures are those of known drawings, rows keep their order."""

import json

import numpy as np
import pytest

from client.inference.synthesise import HypothesesVolume
from common.sequences import Sequence
from common.study import load_study
from simulations.ablations import generator_arms, synthesis_arms
from simulations.ablations.drawings import draw_all, error_correlation, flips, measure_drawings
from simulations.ablations.records import Trial, read_records, recall_or_measure
from simulations.ablations.tables import tables
from simulations.scenario import SCENARIO_FOLDER


class Distance:
    """Stands for the encoder: mean absolute difference of the greys."""

    def distance(self, drawn, real):
        return float(np.mean([np.abs(a - b).mean() for a, b in zip(drawn, real, strict=True)]))


def leaves(tree, path=()):
    if isinstance(tree, dict):
        return {key: value for name, part in tree.items() for key, value in leaves(part, (*path, name)).items()}
    return {path: tree}


def changed(one, other):
    before, after = (leaves(study.model_dump(mode="json")) for study in (one, other))
    return {".".join(key[-2:]) for key in before.keys() & after.keys() if before[key] != after[key]}


@pytest.fixture
def study():
    return load_study(SCENARIO_FOLDER / "ablation.toml")


def test_an_arm_changes_what_its_name_says_and_nothing_else(study):
    full, unpaired, neither = generator_arms.arms(study).values()
    assert changed(full, unpaired) == {"data.pairs"}
    assert changed(unpaired, neither) == {"generator.lesion_style_weight"}
    base, label, segmented, whole, stacked = (
        synthesis_arms.arm_study(study, arm) for arm in synthesis_arms.ARMS.values()
    )
    assert changed(base, label) == {"synthesiser.use_label"}
    assert changed(label, segmented) == {"synthesiser.segmentation_weight"}
    assert changed(segmented, whole) == {"identifier.contrastive"}
    assert changed(whole, stacked) == {"synthesiser.slices"}
    assert changed(whole, study) == set()


def drawing(subject, rise, spread=None):
    """The true picture of a disrupted patient, and one whose core is `rise` greys darker."""
    real = subject.truth.slices(Sequence.T1GD)
    darker = real - np.where(subject.core, np.float32(rise / 127.5), np.float32(0))
    return HypothesesVolume(real, darker, np.zeros_like(real), spread, spread)


def test_a_perfect_drawing_has_no_error_all_the_detail_and_flips(toy):
    (drawn,) = draw_all([toy.subject("a", "p")], lambda subject: drawing(subject, 30))
    assert flips(drawn)
    figures = measure_drawings([drawn], lambda subject, volumes: 1.0, Distance())
    assert figures["brain MAE"] == figures["core MAE"] == figures["FD"] == 0
    assert figures["sharpness"] == pytest.approx(1)
    assert (figures["patients"], figures["flips"], figures["AUC"]) == (1, 1, None)


def test_a_rise_of_a_few_greys_is_no_enhancement(toy):
    (drawn,) = draw_all([toy.subject("a", "p")], lambda subject: drawing(subject, 5))
    assert not flips(drawn)


def test_the_spread_follows_the_error_where_it_is_that_error_and_unchanged_voxels_do_not_count(toy):
    subject = toy.subject("a", "p")
    real = subject.truth.slices(Sequence.T1GD)
    wrong = real + np.random.default_rng(0).uniform(0, 0.2, real.shape).astype(np.float32)
    volumes = HypothesesVolume(wrong, real, np.zeros_like(real), wrong - real, wrong - real)
    (drawn,) = draw_all([subject], lambda _: volumes)
    assert error_correlation(drawn) == pytest.approx(1, abs=1e-4)
    (single,) = draw_all([subject], lambda one: drawing(one, 30))
    assert error_correlation(single) is None


def test_figures_of_other_settings_are_not_taken_for_these(tmp_path):
    first = recall_or_measure(tmp_path, Trial("steps", 0, "1 steps", 1, "a"), lambda: {"x": 1.0})
    assert recall_or_measure(tmp_path, first.trial, lambda: pytest.fail("measured again")) == first
    again = recall_or_measure(tmp_path, Trial("steps", 0, "1 steps", 1, "b"), lambda: {"x": 2.0})
    assert again.figures == {"x": 2.0} and read_records(tmp_path) == [again]


def test_tables_keep_the_order_of_the_arms_and_show_mean_and_range(tmp_path):
    for row, (arm, values) in enumerate({"2 steps": (1.0, 3.0), "10 steps": (None, 4.0)}.items()):
        for seed, value in enumerate(values):
            recall_or_measure(tmp_path, Trial("steps", row, arm, seed, "k"), lambda value=value: {"x": value})
    assert tables(read_records(tmp_path)).splitlines()[4:] == ["| 2 steps | 2 | 2 (1-3) |", "| 10 steps | 2 | 4 |"]
    assert all(json.loads(path.read_text())["trial"]["key"] == "k" for path in tmp_path.rglob("*.json"))
