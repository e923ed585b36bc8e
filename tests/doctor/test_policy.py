"""Where site and study do not meet, and records that can no longer be trusted, each with its remedy."""

from __future__ import annotations

import pytest

from client.consent.offers import keep_offer
from client.doctor.finding import Mark
from client.privacy.ledger import Entry, Ledger
from common.study import parse_study
from tests.doctor.conftest import STUDY, Hospital

PRIVATE = STUDY + '[privacy]\nstages = ["generator"]\nsampling_rate = 0.1\nnoise_multiplier = 2.0\n'


def test_a_policy_that_approves_everything_fails(hospital: Hospital) -> None:
    hospital.says("policy.approve_everything = true")
    found = hospital.ask("approve-everything")
    assert (found.mark, found.code) == (Mark.FAIL, "approve-everything")
    assert "remove the line from site.toml" in found.remedy


def test_too_few_patients_are_told_by_sequence(hospital: Hospital) -> None:
    hospital.says("policy.minimum_patients = 7")
    found = hospital.ask("patients")
    assert (found.mark, found.code, found.figures) == (Mark.FAIL, "too-few", {"T1": 6, "FLAIR": 6, "least": 7})
    assert "lower policy.minimum_patients" in found.remedy


def test_patients_that_a_study_holds_out_do_not_train(hospital: Hospital) -> None:
    found = hospital.ask("patients", parse_study(STUDY.replace("holdout_fraction = 0.0", "holdout_fraction = 0.5")))
    assert found.figures == {"T1": 3, "FLAIR": 3, "least": 5}


def test_one_sequence_that_too_few_hold_is_warned_of(hospital: Hospital) -> None:
    for number in (1, 2):
        (hospital.scans / f"smith-00{number}" / f"smith-00{number}_flair.nii.gz").unlink()
    found = hospital.ask("patients")
    assert (found.mark, found.figures) == (Mark.WARN, {"T1": 6, "FLAIR": 4, "least": 5})


def test_a_policy_without_the_studys_sequences_fails(hospital: Hospital) -> None:
    hospital.says('policy.sequences = ["ADC"]')
    found = hospital.ask("sequences")
    assert (found.mark, found.code) == (Mark.FAIL, "no-sequence")
    assert "change policy.sequences" in found.remedy


def test_sequences_that_are_kept_back_and_stages_that_are_sat_out_are_warned_of(hospital: Hospital) -> None:
    hospital.says('policy.sequences = ["T1"]')
    assert hospital.ask("sequences").code == "kept-back"
    study = parse_study(STUDY.replace('["T1", "FLAIR"]', '["T1", "FLAIR", "T1Gd"]') + "[stages.synthesiser]\n")
    found = hospital.ask("sequences", study)
    assert (found.mark, found.code) == (Mark.WARN, "sits-out")
    assert "synthesiser" in found.what
    assert "policy.sequences" in found.remedy


def test_a_study_that_costs_more_than_the_site_allows_fails(hospital: Hospital) -> None:
    hospital.says("policy.epsilon_budget = 0.5")
    found = hospital.ask("budget", parse_study(PRIVATE))
    assert (found.mark, found.code) == (Mark.FAIL, "budget")
    assert found.figures["all_epsilon"] > 0.5
    assert "fewer rounds or more noise" in found.remedy


def test_what_was_spent_before_counts(hospital: Hospital) -> None:
    private = parse_study(PRIVATE)
    before = hospital.ask("budget", private).figures
    entry = Entry("0" * 64, "older", "0" * 16, "generator", 1, 100, 0.1, 2.0, 1e-5)
    Ledger(hospital.site.work).reserve(entry, lambda entries: None)
    after = hospital.ask("budget", private).figures
    assert after["study_epsilon"] == before["study_epsilon"]
    assert after["all_epsilon"] > before["all_epsilon"]


def test_a_study_above_its_own_limit_is_warned_of(hospital: Hospital) -> None:
    found = hospital.ask("budget", parse_study(PRIVATE + "epsilon = 0.1\n"))
    assert (found.mark, found.code) == (Mark.WARN, "study-budget")
    assert "tell the coordinator" in found.remedy


def test_private_training_without_a_limit_of_the_site_is_warned_of(hospital: Hospital) -> None:
    text = hospital.site.toml.read_text()
    hospital.site.toml.write_text(text.replace("epsilon_budget = 8.0\n", ""))
    found = hospital.ask("budget", parse_study(PRIVATE))
    assert (found.mark, found.remedy) == (Mark.WARN, "set policy.epsilon_budget in site.toml")


def test_a_study_that_nobody_approved_is_warned_of(hospital: Hospital) -> None:
    found = hospital.ask("approval", parse_study(STUDY + "[federation]\ndeadline_s = 60\n"))
    assert (found.mark, found.code) == (Mark.WARN, "not-approved")
    assert "gliofed-client show PLAN" in found.remedy


def test_a_plan_that_waits_is_warned_of(hospital: Hospital) -> None:
    signed = hospital.plan(STUDY + "[federation]\ndeadline_s = 60\n")
    keep_offer(hospital.site.work, signed.to_bytes(), hospital.world.key.public)
    found = hospital.ask("approval")
    assert (found.mark, found.figures) == (Mark.WARN, {"approved": 1, "waiting": 1, "damaged": 0})
    assert signed.plan.digest[:12] in found.what


def test_an_approval_that_was_damaged_fails(hospital: Hospital) -> None:
    (approval,) = hospital.site.approvals.glob("*.json")
    approval.write_text("{}")
    found = hospital.ask("approval")
    assert (found.mark, found.code, found.remedy) == (Mark.FAIL, "damaged-approval", "approve anew")


def test_an_audit_log_that_was_edited_fails(hospital: Hospital) -> None:
    log = hospital.site.audit / "audit.jsonl"
    log.write_text(log.read_text().replace("gliomas", "others"))
    found = hospital.ask("audit-log")
    assert (found.mark, found.code) == (Mark.FAIL, "audit")
    assert "restore the folder from a backup" in found.remedy


@pytest.mark.parametrize("damage", ["emptied", "lost"])
def test_a_ledger_that_cannot_be_read_fails(hospital: Hospital, damage: str) -> None:
    hospital.site.privacy.mkdir()
    if damage == "emptied":
        (hospital.site.privacy / "ledger.sqlite").touch()
    found = hospital.ask("ledger")
    assert (found.mark, found.code) == (Mark.FAIL, "ledger")
    assert "restore it from a backup" in found.remedy
