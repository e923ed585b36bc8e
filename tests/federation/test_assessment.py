"""A release is judged at the sites before it becomes one: once, before a frozen cohort, in sums of enough patients."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import client.answers.assessment
import server.assessment
from client.app import make_app
from client.assessment.examination import Examination, Observed
from client.data.cache import open_case, write_case
from client.privacy.outbound import UNEXPECTED
from common.assessment.dossier import DOSSIER, Dossier, read_dossier
from common.assessment.findings import FeatureSums, Findings, Sums
from common.console import run
from common.errors import DataError, ReleaseError
from common.release import load_release
from common.sequences import Sequence
from server.cli import PROGRAM, app
from server.result import RunResult
from simulations.federation import run_federation

STUDY = {
    "data": "holdout_fraction = 0.5",
    "assessment": "enabled = true",
    "stages__generator": "rounds = 1\nlocal_steps = 1",
}


RUBBISH = FeatureSums(patients=1, slices=32, total=(0.0,) * 16, outer=(1e308,) * 136)
"""Moments of no features there are, in whose covariance no distance can be found."""


@dataclass
class Hospital:
    """A toy federation whose assessor of translation tells each held-out patient's number as its error."""

    tiny: SimpleNamespace
    consortium: Any
    fails: Exception | None = None
    asked: list[tuple[str, tuple[str, ...]]] = field(default_factory=list)

    def translation(self, exam: Examination) -> Observed:
        patients = sorted({case.patient for case in exam.held_out.cases})
        self.asked.append((exam.site, tuple(patients)))
        if self.fails is not None and exam.site == "a":
            raise self.fails
        numbers = {patient: (float(patient.removeprefix("patient-")), 0.5) for patient in patients}
        return Observed(values={"translation/released/T2": numbers, "translation/secret/T2": numbers})

    def assessor_of(self, name: str) -> Callable[[Examination], Observed]:
        return self.translation if name == "translation" else lambda exam: Observed()

    def run(self, out: str = "run", resume: bool = False, **changes: Any) -> RunResult:
        study = self.tiny.make_study(**{**STUDY, **changes})
        judged = make_app(self.tiny.open_cached, self.tiny.bench, self.assessor_of)
        root = self.consortium.root
        return run_federation(
            study,
            self.consortium.sites,
            root / out,
            resume=resume,
            client=judged,
            build=self.tiny.build,
        )

    def dossier(self, out: str = "run") -> Dossier:
        found = read_dossier(self.consortium.root / out / DOSSIER)
        assert found is not None
        return found


@pytest.fixture
def hospital(tiny: SimpleNamespace) -> Hospital:
    """Site `a` holds out three of its six patients, `b` one of its two."""
    both = [Sequence.T1, Sequence.T2]
    return Hospital(tiny, tiny.consortium.add("a", 6, both).add("b", 2, both, shift=0.3))


def test_the_sites_sums_add_up_to_the_mean_over_all_patients_and_the_release_carries_them(hospital: Hospital) -> None:
    done = hospital.run()
    held_out = dict(hospital.asked)
    numbers = {site: [float(each.removeprefix("patient-")) for each in held_out[site]] for site in held_out}
    error, likeness = hospital.dossier().matrix
    assert (error.measure, error.of, error.model, likeness.measure) == ("mae", "T2", "released", "ssim")
    every = numbers["a"] + numbers["b"]
    assert error.pooled.mean == pytest.approx(sum(every) / 4) and error.pooled.patients == 4
    assert {site: each.patients for site, each in error.sites.items()} == {"a": 3, "b": 1}
    assert error.worst_site == max(numbers, key=lambda site: sum(numbers[site]) / len(numbers[site]))
    assert done.release is not None and load_release(done.release).assessment() == hospital.dossier()


def test_verify_tells_who_judged_the_release_and_what_they_say(
    hospital: Hospital, capsys: pytest.CaptureFixture[str]
) -> None:
    done = hospital.run()
    assert run(app, PROGRAM, ["verify", str(done.out), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)["assessment"]
    assert said["sites"] == {"a": "ok", "b": "ok"} and said["figures"][0]["patients"] == 4
    assert run(app, PROGRAM, ["verify", str(done.out)]) == 0
    assert "worst site" in capsys.readouterr().out


def test_what_is_not_declared_stays_at_the_site(hospital: Hospital) -> None:
    hospital.run()
    assert "secret" not in (hospital.consortium.root / "run" / DOSSIER).read_text()


def test_a_changed_assessment_is_found_by_the_release(hospital: Hospital) -> None:
    release = hospital.run().release
    assert release is not None
    (release / DOSSIER).write_bytes((release / DOSSIER).read_bytes().replace(b"0.5", b"0.9"))
    with pytest.raises(ReleaseError, match="SHA-256"):
        load_release(release)


def test_a_study_that_asks_for_none_asks_nobody(hospital: Hospital) -> None:
    done = hospital.run(assessment="enabled = false")
    assert hospital.asked == [] and done.release is not None and load_release(done.release).assessment() is None


def test_too_few_patients_are_withheld_and_shown_as_such(hospital: Hospital) -> None:
    hospital.run(reporting="minimum_count = 3")
    (row, _), statuses = hospital.dossier().matrix, hospital.dossier().sites
    assert (set(row.sites), row.withheld, row.worst_site) == ({"a"}, ("b",), None)
    assert statuses["b"].withheld == ("translation/released/T2",)


def test_the_same_weights_are_assessed_once_and_answered_alike(hospital: Hospital) -> None:
    hospital.run()
    first = hospital.dossier()
    asked_again(hospital)
    assert hospital.dossier() == first and len(hospital.asked) == 2


def test_a_resumed_run_asks_nobody_again(hospital: Hospital) -> None:
    hospital.run()
    before = (hospital.consortium.root / "run" / DOSSIER).read_bytes()
    for kept in hospital.consortium.root.glob("sites/*/work/assessment/*/*.json"):
        kept.unlink()
    hospital.run(resume=True)
    assert (hospital.consortium.root / "run" / DOSSIER).read_bytes() == before and len(hospital.asked) == 2


def other_run(hospital: Hospital, name: str) -> None:
    """Let the same study end with other weights, as after another set of updates: site `b` answers no task."""
    hidden = hospital.consortium.sites["b"].with_suffix(".hidden")
    hospital.consortium.sites["b"].rename(hidden)
    hospital.consortium.sites["b"].write_text("")
    try:
        hospital.run(out=name)
    finally:
        hidden.rename(hospital.consortium.sites["b"])


def test_patients_who_come_later_stay_out_of_the_frozen_cohort(hospital: Hospital) -> None:
    hospital.run()
    frozen = next(patients for site, patients in hospital.asked if site == "a")
    folder = hospital.consortium.root / "sites" / "a" / "work"
    cohort = json.loads(next(folder.glob("assessment/*/cohort.json")).read_text())
    assert tuple(cohort["held_out"]) == frozen
    newcomer(folder, hospital, frozen, cohort["training"])
    other_run(hospital, "later")
    assert hospital.asked[-1] == ("a", frozen)


def newcomer(folder: Path, hospital: Hospital, held_out: tuple[str, ...], training: list[str]) -> None:
    """Add patients to `a` until the split holds out all of the cohort's and somebody else beside them."""
    for number in range(10, 60):
        copy_case(folder, number)
        site = hospital.tiny.open_cached(hospital.consortium.sites["a"], hospital.tiny.make_study(**STUDY))
        now = {case.patient for case in site.held_out.cases}
        trains = {case.patient for case in site.training.cases}
        if now > set(held_out) and trains >= set(training):
            return
        (folder / "cache" / f"{number}.safetensors").unlink()
    raise AssertionError("no such patient was found")


def copy_case(folder: Path, number: int) -> None:
    first = open_case(folder / "cache" / "0.safetensors")
    arrays = {each.value: first.slices(each) for each in first.sequences}
    arrays |= {"brain": first.brain(), "labels": first.labels()}
    facts: Mapping[str, Any] = {
        "case": f"case-{number}",
        "patient": f"patient-{number}",
        "sequences": [each.value for each in first.sequences],
        "label_kind": first.label_kind.value,
        "bbb_disrupted": None,
        "affine": first.affine.tolist(),
        "native": {},
        "greys": dict(first.greys),
    }
    write_case(folder / "cache" / f"{number}.safetensors", arrays, facts)


def test_a_site_that_lost_a_patient_of_the_cohort_answers_no_further_release(hospital: Hospital) -> None:
    hospital.run()
    frozen = next(patients for site, patients in hospital.asked if site == "a")
    gone = frozen[0].removeprefix("patient-")
    (hospital.consortium.root / "sites" / "a" / "work" / "cache" / f"{gone}.safetensors").unlink()
    other_run(hospital, "later")
    assert hospital.dossier("later").sites["a"].code == "cohort-changed"


def test_the_same_weights_under_another_study_are_refused(hospital: Hospital) -> None:
    hospital.run()
    hospital.run(out="again", assessment="enabled = true\ndeadline_s = 60.0")
    assert {each.code for each in hospital.dossier("again").sites.values()} == {"assessed-already"}


@pytest.mark.parametrize(
    ("error", "code"), [(DataError("/scans/patient-3 is broken"), "data"), (ValueError("/scans/patient-3"), UNEXPECTED)]
)
def test_an_assessor_that_fails_costs_its_own_figures_and_leaves_as_a_code(
    hospital: Hospital, error: Exception, code: str
) -> None:
    hospital.fails = error
    hospital.run()
    assert hospital.dossier().sites["a"].failed == {"translation": code}
    assert "scans" not in (hospital.consortium.root / "run" / DOSSIER).read_text()
    assert set(hospital.dossier().matrix[0].sites) == {"b"}


def test_what_failed_is_tried_again_on_the_frozen_cohort_and_what_was_said_stands(hospital: Hospital) -> None:
    hospital.fails = DataError("broken")
    hospital.run()
    frozen = next(patients for site, patients in hospital.asked if site == "a")
    newcomer(hospital.consortium.root / "sites" / "a" / "work", hospital, frozen, trained_at(hospital))
    asked_again(hospital)
    assert hospital.asked[2:] == [("a", frozen)] and hospital.dossier().sites["a"].failed == {"translation": "data"}
    hospital.fails = None
    asked_again(hospital)
    assert hospital.asked[3:] == [("a", frozen)] and hospital.dossier().sites["a"].failed == {}
    assert {site: each.patients for site, each in hospital.dossier().matrix[0].sites.items()} == {"a": 3, "b": 1}
    asked_again(hospital)
    assert hospital.asked[4:] == []


def test_what_failed_is_not_tried_again_without_a_patient_of_the_cohort(hospital: Hospital) -> None:
    hospital.fails = DataError("broken")
    hospital.run()
    gone = next(patients for site, patients in hospital.asked if site == "a")[0].removeprefix("patient-")
    (hospital.consortium.root / "sites" / "a" / "work" / "cache" / f"{gone}.safetensors").unlink()
    first, hospital.fails = hospital.dossier(), None
    asked_again(hospital)
    assert hospital.dossier() == first and len(hospital.asked) == 2


def trained_at(hospital: Hospital) -> list[str]:
    work = hospital.consortium.root / "sites" / "a" / "work"
    cohort: dict[str, list[str]] = json.loads(next(work.glob("assessment/*/cohort.json")).read_text())
    return cohort["training"]


def asked_again(hospital: Hospital) -> None:
    """Resume the run as if its dossier and its release had never been."""
    (hospital.consortium.root / "run" / DOSSIER).unlink()
    shutil.rmtree(hospital.consortium.root / "run" / "release")
    hospital.run(resume=True)


@pytest.mark.parametrize(
    ("lie", "code"),
    [
        ({"weights": "1" * 64}, "wrong-site"),
        ({"sums": {"translation/released/FLAIR": Sums(patients=3, totals=(1.0, 1.0), squares=(1.0, 1.0))}},
         "malformed-assessment"),
        ({"sums": {"translation/released/T2": Sums(patients=3, totals=(999.0, 1.0), squares=(1.0, 1.0))}},
         "malformed-assessment"),
        ({"moments": dict.fromkeys(("distance/real/T2", "distance/drawn/T2"), RUBBISH)}, "malformed-assessment"),
    ],
)  # fmt: skip
def test_a_site_that_says_what_it_may_not_is_named_and_the_others_count(
    hospital: Hospital, monkeypatch: pytest.MonkeyPatch, lie: dict[str, Any], code: str
) -> None:
    honest = client.answers.assessment.assess_once

    def lying(site: Any, *others: Any) -> Findings:
        said = honest(site, *others)
        return said.model_copy(update=lie) if site.name == "b" else said

    monkeypatch.setattr(client.answers.assessment, "assess_once", lying)
    done = hospital.run()
    assert {site: each.code for site, each in hospital.dossier().sites.items()} == {"a": "ok", "b": code}
    assert set(hospital.dossier().matrix[0].sites) == {"a"} and done.status == "complete"


def test_a_refused_release_is_none_and_its_reason_stands(hospital: Hospital, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server.assessment, "REFUSALS", (lambda study, dossier: None, lambda study, dossier: "too bad"))
    done = hospital.run()
    assert done.release is None and done.status == "incomplete" and "too bad" in (done.reason or "")
    assert hospital.dossier().refusal == "too bad" and not (hospital.consortium.root / "run" / "release").exists()
