"""What the coordinator adds up is what pooled patients would give."""

import numpy as np
import pytest

from client.privacy.counting import histogram_of, moments_over, sums_of
from common.assessment.declared import Bins, Features, Values
from common.assessment.distances import FEATURES, distances_of
from common.assessment.dossier import Dossier, parse_dossier
from common.assessment.findings import Findings
from common.assessment.histogram import bin_of
from common.assessment.matrix import matrix_of
from common.assessment.roc import BINS, DISRUPTED, INTACT, roc_of
from common.errors import ReleaseError
from common.metrics.classification import area_under_roc
from common.metrics.distribution import frechet_distance, moments_of

WEIGHTS = "0" * 64
ERRORS = Values(((0.0, 255.0), (-1.0, 1.0)))


def keyed(values):
    return {f"p{number}": value for number, value in enumerate(values)}


def slices_of(seed, patients, shift):
    draw = np.random.default_rng(seed)
    return [shift + draw.standard_normal((15, FEATURES)) @ np.diag(np.arange(1, FEATURES + 1)) for _ in range(patients)]


def test_the_distance_from_three_sites_sums_is_that_of_the_pooled_slices():
    real = {site: slices_of(seed, 4, 100.0) for seed, site in enumerate("abc")}
    drawn = {site: slices_of(seed, 4, 101.0) for seed, site in enumerate("abc", start=9)}
    findings = {
        site: Findings(
            weights=WEIGHTS,
            moments={
                f"distance/{kind}/T1": moments_over(keyed(each[site]), Features(FEATURES), 4)
                for kind, each in (("real", real), ("drawn", drawn))
            },
        )
        for site in "abc"
    }
    pooled = [moments_of(np.concatenate([rows for site in "abc" for rows in each[site]])) for each in (real, drawn)]
    found = {each.site: each for each in distances_of(findings)}
    assert found["all"].value == pytest.approx(frechet_distance(*pooled), rel=1e-9)
    assert (found["all"].patients, found["all"].real_slices) == (12, 180)
    alone = frechet_distance(moments_of(np.concatenate(real["b"])), moments_of(np.concatenate(drawn["b"])))
    assert found["b"].value == pytest.approx(alone, rel=1e-9)


def test_the_relative_distance_knows_nothing_of_the_scale_of_the_features():
    def relative(scale):
        moments = {
            f"distance/{kind}/T1": moments_over(
                keyed([scale * rows for rows in slices_of(seed, 4, seed)]), Features(FEATURES), 1
            )
            for seed, kind in enumerate(("real", "drawn"))
        }
        return distances_of({"a": Findings(weights=WEIGHTS, moments=moments)})[0].relative

    assert relative(1e-4) == pytest.approx(relative(1.0), rel=1e-6) and relative(1.0) > 0


def test_a_site_that_sends_one_side_alone_has_no_part_in_a_distance():
    real = moments_over(keyed(slices_of(1, 4, 0.0)), Features(FEATURES), 1)
    assert distances_of({"a": Findings(weights=WEIGHTS, moments={"distance/real/T1": real})}) == ()


def said(values, name="translation/released/T1", **more):
    sums = sums_of(keyed([(value, 0.5) for value in values]), ERRORS, 1)
    return Findings(weights=WEIGHTS, sums={name: sums}, **more)


def test_the_matrix_pools_patients_not_sites_and_names_the_worst_site():
    error, likeness = matrix_of({"a": said([1.0, 2.0, 3.0]), "b": said([10.0])})
    assert error.pooled.mean == pytest.approx(4.0)
    assert error.pooled.deviation == pytest.approx(np.std([1, 2, 3, 10], ddof=1))
    assert (error.worst_site, error.sites["b"].deviation) == ("b", None)
    assert likeness.measure == "ssim" and likeness.pooled.mean == 0.5


def test_where_all_sites_fare_alike_none_is_the_worst():
    assert [row.worst_site for row in matrix_of({"a": said([2.0]), "b": said([1.0, 3.0])})] == [None, None]


def test_the_order_of_sites_does_not_matter():
    sites = {"a": said([1.0, 2.0]), "b": said([10.0]), "c": said([0.1, 0.2, 0.7])}
    assert matrix_of(sites) == matrix_of(dict(reversed(sites.items())))


def test_a_site_that_withholds_is_shown_as_such_and_is_no_worst_site():
    row, _ = matrix_of({"a": said([1.0]), "b": Findings(weights=WEIGHTS, withheld=("translation/released/T1",))})
    assert (row.withheld, row.worst_site, list(row.sites)) == (("b",), None, ["a"])


def identified(disrupted, intact, fewest=1):
    found = {
        name: histogram_of(keyed([bin_of(score, -1, 1, BINS) for score in scores]), Bins(BINS), fewest)
        for name, scores in ((DISRUPTED, disrupted), (INTACT, intact))
        if scores
    }
    return Findings(weights=WEIGHTS, histograms=found)


def test_the_pooled_area_bounds_the_exact_one_and_the_curve_contains_the_exact_curve():
    draw = np.random.default_rng(5)
    sites = {
        site: (np.clip(draw.normal(0.3, 0.3, 14), -1, 1).tolist(), np.clip(draw.normal(-0.1, 0.3, 11), -1, 1).tolist())
        for site in "abc"
    }
    roc = roc_of({site: identified(*scores, fewest=3) for site, scores in sites.items()})
    disrupted, intact = ([score for each in sites.values() for score in each[side]] for side in (0, 1))
    truth = [True] * len(disrupted) + [False] * len(intact)
    exact = area_under_roc([*disrupted, *intact], truth)
    pooled = roc.areas[0]
    assert (pooled.site, pooled.disrupted, pooled.intact) == ("all", 42, 33)
    assert pooled.low <= exact.value <= pooled.high
    assert pooled.interval_low <= exact.low and exact.high <= pooled.interval_high
    for point in roc.curve[1:]:  # the first lies above everybody
        true = np.mean(np.array(disrupted) >= point.threshold)
        false = np.mean(np.array(intact) >= point.threshold)
        assert point.true_positive_low - 1e-9 <= true <= point.true_positive_high + 1e-9
        assert point.false_positive_low - 1e-9 <= false <= point.false_positive_high + 1e-9


def test_a_site_of_one_status_has_no_part_in_the_curve():
    both, one = identified([0.5], [-0.5]), identified([0.9], [])
    roc = roc_of({"a": both, "b": one})
    assert [area.site for area in roc.areas] == ["a"] and roc.areas[0].disrupted == 1
    assert roc_of({"b": one}) is None


def test_a_dossier_comes_back_as_it_was_written_and_damage_is_told():
    dossier = Dossier(
        study_digest=WEIGHTS,
        weights=WEIGHTS,
        sites={},
        matrix=matrix_of({"a": said([1.0, 2.0])}),
        roc=roc_of({"a": identified([0.5], [-0.5])}),
    )
    assert parse_dossier(dossier.to_bytes(), "here") == dossier
    with pytest.raises(ReleaseError, match="damaged"):
        parse_dossier(dossier.to_bytes()[:-9], "here")
