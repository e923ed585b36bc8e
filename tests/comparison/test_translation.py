import pytest

from common.sequences import STRUCTURAL, Sequence, in_order
from simulations.baselines import fit_baselines
from simulations.comparison.subject import Pencil
from simulations.comparison.translation import compare_translation, measure_fill_gap


def compared(subjects, pencil):
    seen = []
    sites = {subject.site for subject in subjects}
    baselines = {site: fit_baselines([one.own for one in subjects if one.site == site], STRUCTURAL) for site in sites}
    return compare_translation(subjects, pencil, baselines, lambda: seen.append(1)), len(seen)


def test_a_perfect_generator_has_no_error_and_copying_has_the_difference_of_the_means(toy, perfect):
    found, steps = compared([toy.subject("a", "p1", disrupted=False)], perfect)
    assert steps == 1
    assert len(found.fidelity) == 12
    for entry in found.fidelity:
        assert entry.brain["generator"].mae == pytest.approx(0, abs=1e-3)
        assert entry.brain["tone curve"].mae == pytest.approx(0, abs=1)
    t1_to_t2 = next(one for one in found.fidelity if (one.source, one.target) == (Sequence.T1, Sequence.T2))
    assert t1_to_t2.brain["copy"].mae == pytest.approx(80, abs=1e-3)
    assert t1_to_t2.brain["best copy"].mae == pytest.approx(40, abs=1e-3)
    assert t1_to_t2.lesion_mae["copy"] == pytest.approx(80, abs=1e-3)


def test_the_identity_error_is_that_of_drawing_a_domain_as_itself(toy, sloppy):
    found, _ = compared([toy.subject("a", "p1", disrupted=False)], sloppy)
    assert [entry.mae for entry in found.identity] == pytest.approx([5] * 4, abs=1e-3)


def test_patients_are_averaged_within_a_site_and_sites_kept_apart(toy, sloppy):
    subjects = [toy.subject("a", "p1"), toy.subject("a", "p2"), toy.subject("b", "p3")]
    found, _ = compared(subjects, sloppy)
    assert {(entry.site, entry.patients) for entry in found.fidelity} == {("a", 2), ("b", 1)}
    assert set(found.error_of) == {("a", "p1"), ("a", "p2"), ("b", "p3")}


def test_a_site_without_a_domain_of_its_own_is_drawn_in_the_reference_style_and_has_no_identity(toy, perfect):
    only_a = Pencil(perfect.generator, tuple(domain for domain in perfect.domains if domain.site == "a"), "a")
    found, _ = compared([toy.subject("b", "p1")], only_a)
    assert {entry.style_of for entry in found.fidelity} == {"a"}
    assert found.identity == ()


def test_only_sequences_that_exist_are_compared(toy, perfect):
    found, _ = compared([toy.subject("a", "p1", sequences=(Sequence.T1, Sequence.FLAIR))], perfect)
    assert {(entry.source, entry.target) for entry in found.fidelity} == {
        (Sequence.T1, Sequence.FLAIR),
        (Sequence.FLAIR, Sequence.T1),
    }


def test_a_map_of_the_study_is_compared_like_any_sequence(toy, perfect):
    wider = Pencil(perfect.generator, perfect.domains, "a", in_order((Sequence.ADC, Sequence.T1)))
    found, _ = compared([toy.subject("a", "p1", sequences=(Sequence.T1, Sequence.T2, Sequence.ADC))], wider)
    pairs = {(entry.source, entry.target): entry for entry in found.fidelity}
    assert set(pairs) == {(Sequence.T1, Sequence.ADC), (Sequence.ADC, Sequence.T1)}
    assert pairs[Sequence.T1, Sequence.ADC].brain["generator"].mae == pytest.approx(0, abs=1e-3)
    assert pairs[Sequence.T1, Sequence.ADC].brain["copy"].mae == pytest.approx(10, abs=1e-3)
    assert {entry.sequence for entry in found.identity} == {Sequence.T1, Sequence.ADC}


def test_the_fill_gap_compares_the_same_pairs_of_both_groups(toy, sloppy):
    training = [toy.subject("a", "p1", disrupted=False)]
    held_out = [toy.subject("a", "p2", disrupted=False, sequences=(Sequence.T1, Sequence.T1GD))]
    gap = measure_fill_gap(training, held_out, sloppy)
    assert (gap.training_mae, gap.held_out_mae) == (pytest.approx(5, abs=1e-3), pytest.approx(5, abs=1e-3))
    assert (gap.training_patients, gap.held_out_patients) == (1, 1)
    assert measure_fill_gap(training, [], sloppy).held_out_mae is None


def test_a_cross_fit_is_measured_on_the_same_pairs_by_the_generator_that_each_patient_is_given(toy, sloppy, perfect):
    seen, fold = [toy.subject("a", "p1", disrupted=False)], []

    def cross_fit(subject):
        fold.append(subject.own.patient)
        return perfect

    gap = measure_fill_gap(seen, [toy.subject("a", "p2", disrupted=False)], sloppy, cross_fit)
    assert fold == ["p1"]
    assert (gap.training_mae, gap.cross_fitted_mae) == (pytest.approx(5, abs=1e-3), pytest.approx(0, abs=1e-3))
    assert measure_fill_gap(seen, seen, sloppy).cross_fitted_mae is None
