import pytest
import torch

from client.data.cache import LabelKind
from common.sequences import STRUCTURAL, Sequence
from simulations.comparison.segmentation import compare_segmentation


class SquareSegmenter:
    """Finds the toy lesion where all four channels have their mean greys, else its left half; no core anywhere."""

    def __call__(self, x):
        logits = torch.full((len(x), 3, *x.shape[2:]), -9.0)
        right = (x[:, 2] - x[:, 0]).mean(dim=(1, 2)) > 0.3
        for row, good in enumerate(right.tolist()):
            logits[row, 0, 10:18, 10 : 18 if good else 14] = 9
        return logits


@pytest.fixture
def found(toy, perfect):
    subjects = [toy.subject("a", "p1"), toy.subject("b", "p2", label_kind=LabelKind.WHOLE)]
    return {(one.site, one.filled): one for one in compare_segmentation(subjects, SquareSegmenter(), perfect, int)}


def test_each_sequence_is_filled_in_turn_at_each_site_and_over_all(found):
    assert set(found) == {(site, filled) for site in ("all", "a", "b") for filled in (None, *STRUCTURAL)}
    assert found["all", None].patients == 2


def test_the_model_overshoots_by_the_two_slices_without_tumour(found):
    # 64 pixels in each of 4 slices against 64 in each of 2
    assert found["a", None].dice["WT"] == pytest.approx(2 * 128 / (256 + 128))
    assert found["a", None].hd95_mm == pytest.approx(4)


def test_a_perfect_fill_costs_nothing(found):
    assert found["a", Sequence.T2].dice["WT"] == pytest.approx(found["a", None].dice["WT"])


def test_a_core_that_is_not_found_scores_zero_and_one_that_is_not_marked_has_no_score(found):
    assert (found["a", None].dice["TC"], found["a", None].dice["ET"]) == (0, 0)
    assert (found["b", None].dice["TC"], found["b", None].dice["ET"]) == (None, None)


def test_a_patient_who_lacks_a_sequence_or_labels_is_not_measured(toy, perfect):
    subjects = [toy.subject("a", "p1", sequences=STRUCTURAL[:3]), toy.subject("a", "p2", label_kind=LabelKind.NONE)]
    assert {one.patients for one in compare_segmentation(subjects, SquareSegmenter(), perfect, int)} == {0}
