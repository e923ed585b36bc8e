"""Completing a cached case in memory: what is filled from what, what is said, and what the BBB status rests on."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from client.inference import barrier
from client.inference.barrier import GADOLINIUM_ALONE
from client.inference.complete_case import complete_case
from client.inference.identify import UNCERTAIN, identify_volume
from client.inference.models import open_models
from common.errors import DataError
from common.release import Calibration
from common.sequences import STRUCTURAL, Domain, Sequence

T1, T1GD, T2, FLAIR = STRUCTURAL


@pytest.fixture(scope="module")
def models(release):
    return open_models(release)


def test_a_single_sequence_of_an_unknown_centre_is_completed_and_said_so(release, models, make_case):
    case = make_case(T2)
    done = complete_case(case, release, None, models)
    assert set(done.filled) == {T1, T1GD, FLAIR}
    assert set(done.harmonized) == set(STRUCTURAL)
    assert {fill.source for fill in done.fills.values()} == {T2}
    assert done.condition == {T1: T2, FLAIR: T2}
    assert done.t1gd_enhancing.shape == done.t1gd_non_enhancing.shape == case.brain().shape
    assert done.tumour_probability.shape == (3, *case.brain().shape)
    assert done.remarks == ("centre: unknown to this release, harmonized from its sequence alone",)
    for volume in [*done.filled.values(), *done.harmonized.values(), done.t1gd_enhancing]:
        assert volume.dtype == np.float32
        assert (volume[case.brain() == 0] == -1).all()
        assert np.abs(volume).max() <= 1


def test_fills_take_the_style_of_their_own_site_and_harmonized_ones_that_of_the_reference(release, models, make_case):
    done = complete_case(make_case(T1), release, "hospital-b", models)
    assert done.site == "hospital-b"
    assert done.fills[FLAIR].domain == Domain("hospital-b", FLAIR)
    assert done.fills[T2].domain == Domain("hospital-a", T2)
    assert {each.domain.site for each in done.harmonizations.values()} == {"hospital-a"}
    assert done.remarks == ()


def test_the_reference_centres_own_images_are_left_alone(release, models, make_case):
    case = make_case(T1, FLAIR)
    done = complete_case(case, release, "hospital-a", models)
    assert np.array_equal(done.harmonized[T1], case.slices(T1))
    assert done.harmonizations[T1].unchanged


def test_a_site_that_the_study_does_not_name_counts_as_unknown(release, models, make_case):
    done = complete_case(make_case(T1), release, "hospital-z", models)
    assert done.site is None
    assert "given as hospital-z" in done.remarks[0]


def test_a_real_t1gd_does_not_move_the_hypotheses_or_the_status(release, models, make_case):
    case = make_case(T1, T1GD, FLAIR)
    with_gadolinium = complete_case(case, release, "hospital-a", models)
    without = complete_case(replace(case, sequences=(T1, FLAIR)), release, "hospital-a", models)
    assert np.array_equal(with_gadolinium.t1gd_enhancing, without.t1gd_enhancing)
    assert with_gadolinium.bbb == without.bbb


def test_from_gadolinium_images_alone_no_hypothesis_is_drawn_and_no_barrier_judged(release, models, make_case):
    done = complete_case(make_case(T1GD), release, "hospital-a", models)
    assert done.hypotheses is None and done.t1gd_chosen is None
    assert done.condition == {T1: None, FLAIR: None}
    assert (done.bbb.status, done.bbb.reason) == ("indeterminate", GADOLINIUM_ALONE)
    assert done.remarks == (f"T1Gd under either hypothesis: not drawn, {GADOLINIUM_ALONE}",)
    assert set(done.filled) == {T1, T2, FLAIR} and done.tumour_probability is not None  # the rest needs no such secret


def test_a_brain_of_implausible_size_is_foreign_input(release, models, make_case):
    done = complete_case(make_case(T1, FLAIR, radius=0.4), release, None, models)
    assert done.bbb.status == "indeterminate"
    assert "the brain measures" in done.bbb.reason


def test_the_chosen_picture_follows_the_status(release, models, make_case):
    done = complete_case(make_case(T1, FLAIR), release, "hospital-a", models)
    disrupted = replace(done, bbb=replace(done.bbb, status="disrupted"))
    intact = replace(done, bbb=replace(done.bbb, status="intact"))
    undecided = replace(done, bbb=replace(done.bbb, status="indeterminate"))
    assert disrupted.t1gd_chosen is done.t1gd_enhancing
    assert intact.t1gd_chosen is done.t1gd_non_enhancing
    assert undecided.t1gd_chosen is None


def test_a_case_without_any_sequence_of_the_study_is_refused(release, models, make_case):
    with pytest.raises(DataError, match="case-1: holds none of the study's sequences"):
        complete_case(make_case(Sequence.ADC), release, None, models)


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")  # the compiler's own
@pytest.mark.parametrize("wish", ["on", "off"])
def test_released_networks_are_compiled_where_the_site_asks_for_it(release, wish):
    models = open_models(release, wish=wish)
    parts = models.generator.generator, models.synthesiser, models.segmenter.net, models.identifier
    assert [part._compiled_call_impl is not None for part in parts] == [wish == "on"] * 4


def test_domains_that_no_site_trained_are_not_offered(release):
    stages = dict(release.manifest.stages)
    stage, entry = next(iter(stages.items()))
    groups = {
        name: sites for name, sites in entry.lineage.groups.items() if not name.startswith("domain/hospital-b:T1")
    }
    stages[stage] = entry.model_copy(update={"lineage": entry.lineage.model_copy(update={"groups": groups})})
    lesser = replace(release, manifest=release.manifest.model_copy(update={"stages": stages}))
    assert Domain("hospital-b", T1) in open_models(release).domains
    assert Domain("hospital-b", T1) not in open_models(lesser).domains
    assert Domain("hospital-b", FLAIR) in open_models(lesser).domains


def deciding(release, **changes):
    """Return the release with other facts of its identifier."""
    facts = release.manifest.identifier.model_copy(update=changes)
    return replace(release, manifest=release.manifest.model_copy(update={"identifier": facts}))


def test_a_calibrated_release_gives_a_probability_and_abstains_within_its_margin(
    release, models, make_case, monkeypatch
):
    judged = identify_volume(np.array([0.9, 0.8]), np.array([0.3, 0.2]))
    monkeypatch.setattr(barrier, "identify_case", lambda *_, **__: judged)
    monkeypatch.setattr(barrier, "_foreign", lambda *_: None)
    case, curve = make_case(T1, FLAIR), Calibration(slope=5.0, intercept=0.0)  # a score of 0.6 is 0.953
    sure = complete_case(case, deciding(release, calibration=curve, abstain_margin=0.45), "hospital-a", models)
    unsure = complete_case(case, deciding(release, calibration=curve, abstain_margin=0.46), "hospital-a", models)
    assert complete_case(case, release, "hospital-a", models).bbb == judged
    assert sure.bbb.status == "disrupted" and sure.bbb.probability == pytest.approx(1 / (1 + np.exp(-3)))
    assert unsure.bbb.reason == UNCERTAIN and unsure.t1gd_chosen is None
    assert unsure.bbb.probability == sure.bbb.probability
