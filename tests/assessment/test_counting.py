"""What leaves a site is counted there and checked on arrival; too few patients leave nothing at all."""

from types import SimpleNamespace

import numpy as np
import pytest

from client.assessment.answer import to_repeat
from client.assessment.examination import Observed
from client.config import Policy
from client.privacy.outbound import allow_findings
from common.assessment.declared import Bins, Features, Values
from common.assessment.findings import FeatureSums, Findings, Histogram, Sums, check_findings, deviation_of, mean_of
from common.metrics.distribution import frechet_distance, moments_of
from common.records import WireError

WEIGHTS = "0" * 64
DECLARED = {
    "a/values": Values(((0.0, 10.0), (-1.0, 1.0))),
    "a/bins": Bins(4),
    "a/features": Features(2),
}


def observed(patients: int) -> Observed:
    draw = np.random.default_rng(patients)
    keys = [f"patient-{number}" for number in range(patients)]
    return Observed(
        values={"a/values": {key: (float(number), 0.5) for number, key in enumerate(keys)}},
        bins={"a/bins": {key: number % 4 for number, key in enumerate(keys)}},
        features={"a/features": {key: draw.standard_normal((3, 2)) for key in keys}},
    )


def counted(patients: int, minimum: int = 3, reporting: int = 1) -> Findings:
    study = SimpleNamespace(reporting=SimpleNamespace(minimum_count=reporting))
    return allow_findings(observed(patients), DECLARED, WEIGHTS, Policy(minimum_patients=minimum), study)


def test_sums_are_those_over_patients_and_give_mean_and_deviation():
    sums = counted(5).sums["a/values"]
    assert (sums.patients, sums.totals, sums.squares) == (5, (10.0, 2.5), (30.0, 1.25))
    assert mean_of(sums, 0) == 2.0 and deviation_of(sums, 0) == pytest.approx(np.std([0, 1, 2, 3, 4], ddof=1))


def test_moments_are_those_of_all_slices():
    seen = observed(6)
    rows = np.concatenate(list(seen.features["a/features"].values()))
    found = counted(6).moments["a/features"].moments
    pooled = moments_of(rows)
    assert found.count == 18
    np.testing.assert_allclose(found.total, pooled.total)
    np.testing.assert_allclose(found.outer, pooled.outer)


def test_fewer_patients_than_the_stricter_minimum_leave_nothing_but_the_name():
    for few in (counted(4, minimum=5), counted(4, minimum=1, reporting=5)):
        assert (few.sums, few.histograms, few.moments) == ({}, {}, {})
        assert few.withheld == ("a/bins", "a/features", "a/values")


def test_moments_of_few_slices_stay_since_their_span_would_show():
    study = SimpleNamespace(reporting=SimpleNamespace(minimum_count=1))
    seen = Observed(features={"a/features": {"patient-1": np.eye(2), "patient-2": np.eye(2)[:1]}})
    assert allow_findings(seen, DECLARED, WEIGHTS, Policy(minimum_patients=1), study).withheld == ("a/features",)


def test_no_patient_key_and_no_single_number_leaves():
    text = counted(7).model_dump_json()
    assert "patient-" not in text
    assert "6.0" not in text.replace("36.0", ""), "the worst patient's own number"


def test_a_number_beyond_its_range_counts_as_the_end_of_it():
    study = SimpleNamespace(reporting=SimpleNamespace(minimum_count=1))
    seen = Observed(values={"a/values": {"patient-1": (50.0, -3.0)}})
    sums = allow_findings(seen, DECLARED, WEIGHTS, Policy(minimum_patients=1), study).sums["a/values"]
    assert sums.totals == (10.0, -1.0)


def test_a_number_that_is_none_is_withheld():
    study = SimpleNamespace(reporting=SimpleNamespace(minimum_count=1))
    seen = Observed(values={"a/values": {"patient-1": (float("nan"), 0.0)}})
    assert allow_findings(seen, DECLARED, WEIGHTS, Policy(minimum_patients=1), study).withheld == ("a/values",)


def moments(total=(0.0, 0.0), outer=(1.0, 0.0, 1.0)):
    return FeatureSums(patients=5, slices=15, total=total, outer=outer)


def test_a_feature_beyond_reason_counts_as_the_end_of_it_and_passes_the_check():
    study = SimpleNamespace(reporting=SimpleNamespace(minimum_count=1))
    rows = np.array([[1e200, 1.0], [-1e200, 2.0], [3.0, -4.0], [5.0, 1e9]])
    findings = allow_findings(
        Observed(features={"a/features": {"patient-1": rows}}), DECLARED, WEIGHTS, Policy(minimum_patients=1), study
    )
    assert findings.moments["a/features"].total == (8.0, 1e6 - 1)
    check_findings(findings, DECLARED, fewest=1)


@pytest.mark.parametrize("scale", [0.0, 1e-12, 1e-4, 1.0, 1e5])
@pytest.mark.parametrize("mean", [0.0, 10.0, 9e5])
def test_moments_of_any_true_features_pass_the_check_and_have_a_distance(scale, mean):
    study = SimpleNamespace(reporting=SimpleNamespace(minimum_count=1))
    rows = mean + scale * np.random.default_rng(1).standard_normal((40, 2)) @ np.array([[1.0, 1.0], [0.0, 1e-9]])
    seen = Observed(features={"a/features": {"patient-1": rows}})
    findings = allow_findings(seen, DECLARED, WEIGHTS, Policy(minimum_patients=1), study)
    check_findings(findings, DECLARED, fewest=1)
    found = findings.moments["a/features"].moments
    assert frechet_distance(found, found) == pytest.approx(0, abs=1e-6 * max(np.trace(found.outer), 1))


def test_what_the_door_lets_out_passes_the_check():
    for patients in (3, 5, 20):
        check_findings(counted(patients), DECLARED, fewest=3)


@pytest.mark.parametrize(
    "lie",
    [
        {"sums": {"a/other": Sums(patients=5, totals=(1.0,), squares=(1.0,))}},
        {"sums": {"a/values": Sums(patients=5, totals=(10.0,), squares=(30.0,))}},
        {"sums": {"a/values": Sums(patients=2, totals=(1.0, 0.0), squares=(1.0, 0.0))}},
        {"sums": {"a/values": Sums(patients=5, totals=(51.0, 0.0), squares=(530.0, 0.0))}},
        {"sums": {"a/values": Sums(patients=5, totals=(10.0, 0.0), squares=(19.0, 0.0))}},
        {"sums": {"a/bins": Sums(patients=5, totals=(1.0,), squares=(1.0,))}},
        {"histograms": {"a/bins": Histogram(ends=(1, 4), counts=(2, 5))}},
        {"histograms": {"a/bins": Histogram(ends=(1, 3), counts=(5, 5))}},
        {"histograms": {"a/bins": Histogram(ends=(3, 1, 4), counts=(5, 0, 5))}},
        {"histograms": {"a/bins": Histogram(ends=(4,), counts=(0,))}},
        {"moments": {"a/features": counted(5).moments["a/features"].model_copy(update={"slices": 3})}},
        {"moments": {"a/features": counted(5).moments["a/features"].model_copy(update={"total": (900.0, 0.0)})}},
        {"moments": {"a/features": counted(5).moments["a/features"].model_copy(update={"outer": (1.0,)})}},
        {"moments": {"a/features": moments(outer=(1.0, 9.0, 1.0))}},
        {"moments": {"a/features": moments(outer=(1.0, -1.1, 1.0))}},
        {"moments": {"a/features": moments(total=(6.0, -6.0), outer=(15.0, 14.0, 15.0))}},
        {"moments": {"a/features": moments(outer=(-1.0, 0.0, 1.0))}},
        {"moments": {"a/features": moments(total=(1e300, 0.0), outer=(1e308, 0.0, 1e308))}},
        {"moments": {"a/features": moments(outer=(1e308, 1e308, 1e308))}},
        {"withheld": ("a/other",)},
    ],
)
def test_what_a_site_may_not_say_is_refused(lie):
    with pytest.raises(WireError) as refused:
        check_findings(counted(5).model_copy(update=lie), DECLARED, fewest=3)
    assert refused.value.code == "malformed-assessment"


def test_what_was_said_stands_and_only_what_was_not_is_added():
    first = counted(4, minimum=5).model_copy(update={"sums": counted(5).sums, "withheld": ("a/bins",)})
    first = first.model_copy(update={"failed": {"b": "data", "c": "data"}})
    later = counted(9).model_copy(update={"failed": {"c": "unexpected"}})
    both = first.completed_by(later)
    assert (both.sums, both.histograms, both.withheld) == (first.sums, {}, ("a/bins",))
    assert both.moments == later.moments and both.failed == {"c": "unexpected"}
    assert first.completed_by(first) == first


def test_who_lacked_what_the_site_could_not_train_by_itself_looks_again():
    findings = Findings(weights=WEIGHTS, failed={"site-alone": "data", "membership": "data"})
    assessors = ("translation", "segmentation", "identification", "membership", "memorisation")
    assert to_repeat(assessors, findings) == ("translation", "segmentation", "membership")
    assert to_repeat(assessors, Findings(weights=WEIGHTS)) == ()
