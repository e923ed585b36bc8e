import pytest

from common.sequences import STRUCTURAL, Sequence
from simulations.report.build import unjudged
from simulations.report.measures import (
    AucFacts,
    Hypotheses,
    Identification,
    IdentityError,
    Measure,
    PairFidelity,
    Segmentation,
)
from simulations.report.targets import (
    hypotheses_targets,
    identification_targets,
    segmentation_targets,
    translation_targets,
)


def by_name(targets):
    return {target.name: target for target in targets}


def measure(mae):
    return Measure(mae=mae, psnr_db=20, ssim=0.5)


def pairs(generator, copy, tone_curve=30.0, lost=0):
    """Twelve ordered pairs at one site; in the first `lost` of them the generator is no better than copying."""
    found = []
    for source in STRUCTURAL:
        for target in STRUCTURAL:
            if source != target:
                drawn = copy if len(found) < lost else generator
                brain = {"generator": measure(drawn), "copy": measure(copy), "tone curve": measure(tone_curve)}
                found.append(
                    PairFidelity(
                        site="a", source=source, target=target, style_of="a", patients=2, brain=brain, lesion_mae={}
                    )
                )
    return found


def identity(mae):
    return [IdentityError(site="a", sequence=Sequence.T1, patients=2, mae=mae)]


def test_the_copy_ratio_is_the_mean_error_against_the_mean_error_of_copying():
    met = by_name(translation_targets(pairs(24, 30), identity(9), small=False))["copy ratio"]
    assert (met.value, met.status) == (pytest.approx(0.8), "met")
    missed = by_name(translation_targets(pairs(25, 30), identity(9), small=False))["copy ratio"]
    assert missed.status == "missed"


@pytest.mark.parametrize(("lost", "status"), [(3, "met"), (4, "missed")])
def test_nine_of_twelve_pairs_must_beat_copying_and_the_losers_are_named(lost, status):
    found = by_name(translation_targets(pairs(10, 30, lost=lost), identity(9), small=False))["better pairs"]
    assert (found.value, found.status) == (12 - lost, status)
    assert "T1 → T1Gd" in found.detail


def test_a_global_inversion_fails_on_identity():
    assert by_name(translation_targets(pairs(10, 30), identity(36), small=False))["identity"].status == "missed"


def test_one_inverted_domain_among_many_fails_on_identity():
    found = by_name(translation_targets(pairs(10, 30), [*identity(1) * 11, *identity(36)], small=False))["identity"]
    assert (found.value, found.status) == (36, "missed")
    assert found.detail == "a T1; mean 3.9"


def test_a_site_where_a_baseline_could_not_be_fitted_does_not_count_against_it():
    entries = pairs(31, 40, tone_curve=32)
    hard = [each.model_copy(update={"site": "b", "brain": {"generator": measure(90)}}) for each in entries]
    found = by_name(translation_targets([*entries, *hard], identity(1), small=True))["tone curve, brain"]
    assert (found.value, found.status) == (pytest.approx(31 / 32), "met")


def test_the_tone_curve_is_a_bound_at_scale_small_and_a_report_otherwise():
    shown = by_name(translation_targets(pairs(31, 40), identity(9), small=False))["tone curve, brain"]
    asked = by_name(translation_targets(pairs(31, 40), identity(9), small=True))["tone curve, brain"]
    assert (shown.status, asked.status) == ("reported", "missed")


def test_nothing_measured_is_never_a_success():
    found = [*translation_targets([], [], small=True), *hypotheses_targets([]), *segmentation_targets([])]
    assert {target.status for target in (*found, *identification_targets(None))} == {"not measured"}


def hypotheses(core, normal, wins):
    return Hypotheses(
        site="all", patients=12, core_change=core, normal_change=normal, right_label_wins=wins, compared=12,
        share=wins / 12, low=0.0, high=1.0, core_mae=20, brain_mae=12, copy_brain_mae=11,
    )  # fmt: skip


def test_the_label_must_move_the_core_and_leave_the_rest_alone():
    found = by_name(hypotheses_targets([hypotheses(33, 4, 9)]))
    assert {target.status for target in found.values()} == {"met"}
    assert found["core over normal"].value == pytest.approx(33 / 4)
    found = by_name(hypotheses_targets([hypotheses(33, 20, 8)]))
    assert (found["core over normal"].status, found["right label"].status) == ("missed", "missed")


def test_the_worst_filled_sequence_decides():
    def dice(filled, value):
        parts = {"WT": value, "TC": None, "ET": None}
        return Segmentation(site="all", filled=filled, patients=2, dice=parts, hd95_mm=None)

    found = segmentation_targets([dice(None, 0.8), dice(Sequence.T2, 0.79), dice(Sequence.FLAIR, 0.6)])
    assert (found[0].value, found[0].status) == (pytest.approx(0.75), "missed")
    assert "FLAIR" in found[0].detail


def test_a_segmenter_that_finds_nothing_with_all_real_does_not_pass():
    parts = {"WT": 0.0, "TC": None, "ET": None}
    nothing = [
        Segmentation(site="all", filled=filled, patients=2, dice=parts, hd95_mm=None) for filled in (None, Sequence.T2)
    ]
    (found,) = segmentation_targets(nothing)
    assert (found.value, found.status) == (0, "missed")


def test_an_interval_above_the_ceiling_raises_the_alarm_of_a_leak():
    def facts(low):
        area = AucFacts(of="identifier", site="all", value=0.95, low=low, high=1, positives=40, negatives=40, note="")
        return Identification(ceiling=0.8, indeterminate={}, accuracy=None, decided=0, areas=(area,), roc={})

    assert by_name(identification_targets(facts(0.75)))["no leak"].status == "met"
    assert by_name(identification_targets(facts(0.88)))["no leak"].status == "missed"
    assert by_name(identification_targets(facts(0.75)))["BBB AUC"].status == "reported"


def test_on_its_own_training_patients_a_run_meets_and_misses_nothing():
    targets = [*translation_targets(pairs(24, 30), identity(36), small=False), *segmentation_targets([])]
    assert {target.status for target in map(unjudged, targets)} == {"reported", "not measured"}
