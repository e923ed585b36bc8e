"""The one door: what may leave a hospital, and what stays for want of patients or of permission."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from client.config import Policy
from client.consent.approvals import require_approval
from client.privacy.outbound import Outgoing, allow_update, code_of
from client.training.trainer import NothingToTrainError
from client.training.update import Counted, LocalUpdate
from common.errors import PolicyError
from common.parameters import PLAIN, Grouping
from common.plan import Plan, SiteInventory
from common.sequences import Sequence

PLAN = Plan(
    study_digest="0" * 64,
    inventory=tuple(SiteInventory(site=site, training_patients=9, sequences={Sequence.T1: 9}) for site in ("a", "b")),
)
TENSORS = {
    "trunk": torch.ones(2),
    "heads.a:T1.w": torch.ones(1),
    "heads.a:T1:lesion.w": torch.ones(1),
    "heads.b:T1.w": torch.ones(1),
    "private.w": torch.ones(1),
    "seen": torch.tensor(4),
}


def send(tiny: SimpleNamespace, minimum: int = 1, reporting: int = 1, **metrics: Counted) -> Outgoing:
    patients = {"shared": 6, "domain/a:T1": 6, "domain/a:T1:lesion": 2, "domain/b:T1": 6, "local": 6}
    named = {name.replace("__", "."): metric for name, metric in metrics.items()}
    update = LocalUpdate(TENSORS, Grouping(("private.",)), patients, named)
    study = tiny.make_study(reporting=f"minimum_count = {reporting}")
    return allow_update(update, "a", Policy(minimum_patients=minimum, approve_everything=True), study, PLAN)


def test_the_trunk_and_the_sites_own_heads_leave_and_nothing_else(tiny: SimpleNamespace) -> None:
    out = send(tiny)
    assert sorted(out.tensors) == ["heads.a:T1.w", "heads.a:T1:lesion.w", "trunk"]
    assert sorted(out.patients) == ["domain/a:T1", "domain/a:T1:lesion", "shared"]


def test_a_head_with_too_few_patients_stays_and_is_named(tiny: SimpleNamespace) -> None:
    out = send(tiny, minimum=3)
    assert sorted(out.tensors) == ["heads.a:T1.w", "trunk"]
    assert out.withheld == ("domain/a:T1:lesion",)


def test_a_metric_needs_its_minimum_count(tiny: SimpleNamespace) -> None:
    out = send(tiny, reporting=5, training__loss=Counted(0.5, 6), held_out__loss=Counted(0.7, 4))
    assert out.metrics == {"training.loss": 0.5}
    assert out.withheld == ("held_out.loss",)


def test_the_stricter_of_policy_and_study_counts(tiny: SimpleNamespace) -> None:
    assert send(tiny, minimum=6, reporting=1, training__loss=Counted(0.5, 5)).metrics == {}


def test_an_unknown_or_broken_metric_stays_and_an_unknown_name_is_not_even_named(tiny: SimpleNamespace) -> None:
    out = send(tiny, training__patient_7=Counted(1.0, 9), training__loss=Counted(float("nan"), 9))
    assert out.metrics == {} and out.withheld == ("training.loss",)


def test_an_error_leaves_as_its_code() -> None:
    assert code_of(NothingToTrainError("/scans/patient-7")) == "nothing-to-train"
    assert code_of(RuntimeError("/scans/patient-7")) == "unexpected"


def test_a_study_that_nobody_approved_is_refused(tiny: SimpleNamespace, tmp_path: Path) -> None:
    study = tiny.make_study()
    assert require_approval(tmp_path, Policy(approve_everything=True), study.digest) is None
    with pytest.raises(PolicyError, match=study.digest[:12]) as caught:
        require_approval(tmp_path, Policy(), study.digest)
    assert code_of(caught.value) == "not-approved"


def test_statistics_leave_under_the_rule_for_numbers_and_weights_under_that_for_weights(tiny: SimpleNamespace) -> None:
    tensors = {"trunk": torch.ones(2), "statistics.decisions": torch.ones(1)}
    update = LocalUpdate(tensors, PLAIN, {"shared": 4, "statistics": 4}, {})
    policy = Policy(minimum_patients=2, approve_everything=True)
    few = allow_update(update, "a", policy, tiny.make_study(reporting="minimum_count = 5"), PLAN)
    assert (sorted(few.tensors), few.withheld) == (["trunk"], ("statistics",))
    enough = allow_update(update, "a", policy, tiny.make_study(reporting="minimum_count = 4"), PLAN)
    assert sorted(enough.tensors) == ["statistics.decisions", "trunk"] and enough.withheld == ()


def test_a_table_of_either_status_leaves_only_with_enough_patients_of_each(tiny: SimpleNamespace) -> None:
    def sent(rarer: int) -> dict[str, int]:
        update = LocalUpdate({"statistics.scores": torch.ones(1)}, PLAIN, {"statistics": 9}, {}, {"statistics": rarer})
        policy = Policy(minimum_patients=4, approve_everything=True)
        return allow_update(update, "a", policy, tiny.make_study(), PLAN).patients

    assert (sent(rarer=3), sent(rarer=4)) == ({}, {"statistics": 9})
