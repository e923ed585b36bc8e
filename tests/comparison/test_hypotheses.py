from dataclasses import dataclass

import pytest
import torch

from common.sequences import Sequence
from common.settings.stages import SynthesiserStage
from simulations.comparison.hypotheses import compare_hypotheses

SETTINGS = SynthesiserStage(diffusion_steps=20, sampling_steps=2)


@dataclass
class Drawn:
    image: torch.Tensor
    tumour_logits: torch.Tensor


class CoreLighter:
    """Draws T1 with `step` grey levels more in the core's square where the label says enhancing."""

    def __init__(self, step):
        self.step = step

    def __call__(self, x_t, t, condition, enhancing, availability):
        image = condition[:, :1].clone() + 10 / 127.5
        image[:, :, 12:16, 12:16] += enhancing[:, None, None, None] * self.step / 127.5
        return Drawn(image, torch.zeros_like(image))


def compared(subjects, step):
    return compare_hypotheses(subjects, CoreLighter(step), SETTINGS, 1, lambda: None)


def test_the_label_moves_core_and_normal_tissue_by_what_the_model_adds_there(toy):
    every, site = compared([toy.subject("a", "p1")], 60)
    spilt = 60 * 2 * 16 / (4 * 576 - 2 * 64)  # the square of 16 also lights up on the two slices without tumour
    assert (every.core_change, every.normal_change) == (pytest.approx(60, abs=0.01), pytest.approx(spilt, abs=0.01))
    assert (every.site, site.site) == ("all", "a")


def test_the_right_label_wins_in_disrupted_and_intact_patients(toy):
    every, _ = compared([toy.subject("a", "p1"), toy.subject("a", "p2", disrupted=False)], 60)
    assert (every.right_label_wins, every.compared, every.share) == (2, 2, 1)
    assert every.low == pytest.approx(0.025**0.5)
    assert every.core_mae == pytest.approx(0, abs=0.01)
    assert every.copy_brain_mae == pytest.approx(10, abs=1)


def test_a_model_that_darkens_what_enhances_loses_the_disrupted_patient(toy):
    every, _ = compared([toy.subject("a", "p1"), toy.subject("a", "p2", disrupted=False)], -60)
    assert (every.right_label_wins, every.compared) == (1, 2)
    assert (every.low, every.high) == (pytest.approx(0.0126, abs=1e-4), pytest.approx(0.9874, abs=1e-4))


def test_a_patient_without_t1gd_is_moved_but_not_compared(toy):
    every, _ = compared([toy.subject("a", "p1", sequences=(Sequence.T1, Sequence.FLAIR))], 60)
    assert (every.patients, every.compared, every.share, every.core_mae) == (1, 0, None, None)


def test_a_patient_without_t1_is_left_out(toy):
    (every,) = compared([toy.subject("a", "p1", sequences=(Sequence.T2, Sequence.FLAIR))], 60)
    assert every.patients == 0
