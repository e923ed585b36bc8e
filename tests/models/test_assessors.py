"""What the assessors see at a site: the right patients, the right regions, and errors that one can check by hand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from client.assessment import identification, segmentation, translation
from client.assessment.examination import Examination
from client.data.cache import LabelKind
from client.data.dataset import CaseStore
from common.assessment.catalogue import declared_by
from common.assessment.roc import BINS, DISRUPTED, INTACT
from common.nets.stage_models import build_model
from common.nets.style import SequenceEncoder
from common.nets.trunks import make_trunk
from common.plan import Plan, SiteInventory
from common.sequences import STRUCTURAL, Sequence
from common.settings.stages import Stage
from common.study import Study

T1, T2, FLAIR = Sequence.T1, Sequence.T2, Sequence.FLAIR


def plan_of(study: Study, sequences: tuple[Sequence, ...] = STRUCTURAL) -> Plan:
    held = SiteInventory(site="a", training_patients=9, sequences=dict.fromkeys(sequences, 9))
    return Plan(study_digest=study.digest, inventory=(held,))


def exam_of(
    study: Study, cases: list, models: Mapping[Stage, nn.Module], sequences: tuple[Sequence, ...] = STRUCTURAL
) -> Examination:
    store = CaseStore(cases, STRUCTURAL)
    empty = CaseStore([], STRUCTURAL)
    return Examination(study, plan_of(study, sequences), "a", empty, store, models, torch.device("cpu"))


class Copyist(nn.Module):
    """A generator that copies its source, with an encoder whose features are those of any picture."""

    def __init__(self, study: Study) -> None:
        super().__init__()
        self.domains = plan_of(study).domains(study)
        self.encoder = SequenceEncoder(self.domains, make_trunk((8, 16, 32), residual=False), 8)

    def translate(self, image: Tensor, target: Tensor) -> Tensor:
        return image


@pytest.fixture
def copied(study: Study, make_case) -> translation.Observed:
    cases = [make_case("p1", (T2, FLAIR)), make_case("p2", (T2, FLAIR)), make_case("p3", (T1,))]
    return translation.assess(exam_of(study, cases, {Stage.GENERATOR: Copyist(study)}))


def test_a_generator_that_copies_errs_as_much_as_copying(copied) -> None:
    assert set(copied.values) == {
        f"translation/{model}/{target}" for model in ("released", "copy") for target in (T2, FLAIR)
    }
    for target in (T2, FLAIR):
        assert copied.values[f"translation/released/{target}"] == copied.values[f"translation/copy/{target}"]


def test_the_error_is_in_greys_inside_the_brain(study: Study, make_case, copied) -> None:
    case = make_case("p1", (T2, FLAIR))
    apart = np.abs(case.slices(T2) - case.slices(FLAIR))[::2][case.brain()[::2] > 0].mean() * 127.5
    assert copied.values["translation/released/T2"]["p1"][0] == pytest.approx(apart, rel=1e-5)


def test_who_lacks_a_sequence_or_a_source_is_not_measured_in_it(copied) -> None:
    assert set(copied.values["translation/released/T2"]) == {"p1", "p2"}
    assert not any(name.endswith("/T1") for name in (*copied.values, *copied.features))


def test_real_and_copied_features_are_those_of_the_other_sequence(copied) -> None:
    drawn, real = copied.features["distance/drawn/T2"]["p1"], copied.features["distance/real/FLAIR"]["p1"]
    np.testing.assert_allclose(drawn, real, atol=1e-5)


def test_the_directions_are_the_same_everywhere_and_orthonormal() -> None:
    here, there = translation.directions(40), translation.directions(40)
    assert (here == there).all()
    np.testing.assert_allclose(here.T @ here, np.eye(here.shape[1]), atol=1e-12)


def test_the_generator_of_the_site_alone_is_measured_beside_the_released_one(study: Study, make_case) -> None:
    exam = exam_of(study, [make_case("p1", (T2, FLAIR))], {Stage.GENERATOR: Copyist(study)})
    found = translation.assess(replace(exam, alone={Stage.GENERATOR: Copyist(study)})).values
    assert found["translation/site-alone/T2"] == found["translation/released/T2"]


def test_a_sequence_of_which_the_site_has_no_domain_is_left_out(study: Study, make_case) -> None:
    exam = exam_of(study, [make_case("p1", (T2, FLAIR))], {Stage.GENERATOR: Copyist(study)}, (T2,))
    assert {name.split("/")[-1] for name in translation.assess(exam).values} == {"T2"}


class Oracle(nn.Module):
    """A segmenter that reads the toy tumour off FLAIR, and its core off T1Gd."""

    def forward(self, stack: Tensor) -> Tensor:
        _, contrast, _, flair = stack.unbind(1)
        whole, core = flair > 0.3, contrast > 0.3
        return torch.stack([whole, core, core], dim=1).float() * 20 - 10


def segmented(study: Study, cases: list) -> dict[str, dict[str, tuple[float, ...]]]:
    models = {Stage.GENERATOR: Copyist(study), Stage.SEGMENTER: Oracle()}
    return dict(segmentation.assess(exam_of(study, cases, models)).values)


def test_a_segmenter_that_is_right_overlaps_fully_in_every_region_that_labels_tell(study: Study, make_case) -> None:
    whole = make_case("p2", label_kind=LabelKind.WHOLE)
    found = segmented(study, [make_case("p1"), whole, make_case("p3", label_kind=LabelKind.NONE)])
    assert found == {
        "segmentation/released/WT": {"p1": (1.0,), "p2": (1.0,)},
        "segmentation/released/TC": {"p1": (1.0,)},
        "segmentation/released/ET": {"p1": (1.0,)},
    }


def test_a_sequence_that_is_missing_is_filled(study: Study, make_case) -> None:
    found = segmented(study, [make_case("p1", (T1, T2, FLAIR))])
    assert found["segmentation/released/WT"]["p1"] == (1.0,)
    assert found["segmentation/released/ET"]["p1"][0] < 0.6, "the contrast is a copy of T1"


def test_every_patient_of_known_status_has_one_bin_and_it_is_the_same_again(study: Study, make_case) -> None:
    cases = [make_case("p1"), make_case("p2", bbb=False), make_case("p3", label_kind=LabelKind.NONE, bbb=None)]
    domains = plan_of(study).domains(study)
    models = {
        stage: build_model(stage, study, domains, torch.Generator().manual_seed(0)).eval().requires_grad_(False)
        for stage in (Stage.GENERATOR, Stage.SYNTHESISER, Stage.SEGMENTER, Stage.IDENTIFIER)
    }
    exam = exam_of(study, cases, models)
    found = identification.assess(exam).bins
    assert {status: set(each) for status, each in found.items()} == {DISRUPTED: {"p1"}, INTACT: {"p2"}}
    assert all(0 <= number < BINS for each in found.values() for number in each.values())
    assert identification.assess(exam).bins == found


def test_everything_that_the_assessors_see_is_declared(study: Study, make_case, copied) -> None:
    declared = {name for names in declared_by(study, plan_of(study), "a").values() for name in names}
    seen = {*copied.values, *copied.features, *segmented(study, [make_case("p1")]), DISRUPTED, INTACT}
    assert seen <= declared
