"""Membership inference at the site: its own training patients against its held-out ones, under every released model."""

from __future__ import annotations

from client.assessment.chosen_patients import chosen
from client.assessment.examination import Examination, Observed
from client.assessment.patient_losses import losses_of, members_of
from common.assessment.membership import ATTACKS, PARTS, attack_name, attacked
from common.attacks.placements import false_alarm_bin, placements


def assess(exam: Examination) -> Observed:
    """Return the placements of members and strangers under each attack that enough of both take part in.

    A member's placement rests on all strangers: with fewer than the minimum count of them nothing is said.
    """
    values: dict[str, dict[str, tuple[float, ...]]] = {}
    bins: dict[str, dict[str, int]] = {}
    for stage in attacked(exam.study):
        members, strangers = chosen(exam, members_of(exam, stage)), chosen(exam, exam.held_out)
        if min(len(members.patients()), len(strangers.patients())) < exam.minimum:
            continue
        for loss in ATTACKS[stage]:
            losses = losses_of(exam, stage, loss)
            placed = placements(losses(members), losses(strangers))
            if min(len(placed.members), len(placed.strangers)) < exam.minimum:
                continue
            name = attack_name(stage, loss)
            values[f"{name}/members"] = {patient: (share,) for patient, share in placed.members.items()}
            values[f"{name}/strangers"] = {patient: (share,) for patient, share in placed.strangers.items()}
            bins[f"{name}/curve"] = {
                patient: false_alarm_bin(share, PARTS) for patient, share in placed.members.items()
            }
    return Observed(values=values, bins=bins)
