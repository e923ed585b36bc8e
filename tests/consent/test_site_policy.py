"""What a site.toml limits: hours, disk, GPU memory, numbers; each is parsed strictly and holds."""

from __future__ import annotations

from datetime import datetime, time
from pathlib import Path

import pytest
import torch

from client import limits
from client.config import Policy, parse_site
from client.limits import DiskLimitError, OutsideHoursError, limit_gpu_memory, require_disk, require_hours
from client.privacy.outbound import allow_planned, code_of
from common.assessment.findings import Findings, Sums
from common.errors import StudyError

MINIMAL = 'name = "a"\nfolder = "scans"\nworkdir = "work"\n[policy]\n'


@pytest.mark.parametrize(
    ("hours", "open_at", "closed_at"),
    [
        ("20:00-06:00", ["20:00", "23:59", "00:00", "05:59"], ["06:00", "12:00", "19:59"]),
        ("08:30-17:00", ["08:30", "16:59"], ["08:29", "17:00", "00:00"]),
    ],
)
def test_hours_hold_and_may_go_over_midnight(hours: str, open_at: list[str], closed_at: list[str]) -> None:
    policy = Policy(hours=hours)
    assert all(policy.is_open(time.fromisoformat(at)) for at in open_at)
    assert not any(policy.is_open(time.fromisoformat(at)) for at in closed_at)


def test_outside_the_hours_a_message_is_refused_with_a_code(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "local_now", lambda: datetime(2026, 11, 22, 12, 0))
    require_hours(Policy())
    with pytest.raises(OutsideHoursError, match=r"it is 12:00, and policy\.hours is 20:00-06:00") as caught:
        require_hours(Policy(hours="20:00-06:00"))
    assert code_of(caught.value) == "outside-hours"


def test_the_disk_is_counted_with_what_is_about_to_come(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "held").write_bytes(bytes(600))
    policy = Policy(disk_gb=1e-6)
    require_disk(tmp_path, policy, incoming=400)
    require_disk(tmp_path, Policy(), incoming=10**15)
    with pytest.raises(DiskLimitError, match="disk_gb") as caught:
        require_disk(tmp_path, policy, incoming=401)
    assert code_of(caught.value) == "disk-limit"


def test_on_a_cpu_a_limit_of_gpu_memory_has_no_effect() -> None:
    limit_gpu_memory(Policy(gpu_memory_gb=1e-3), torch.device("cpu"))


@pytest.mark.gpu
def test_on_a_gpu_no_more_memory_is_given_than_the_policy_allows() -> None:
    device = torch.device("cuda")
    limit_gpu_memory(Policy(gpu_memory_gb=1.0), device)
    kept = torch.empty(500_000_000, dtype=torch.uint8, device=device)
    with pytest.raises(torch.OutOfMemoryError):
        torch.empty(600_000_000, dtype=torch.uint8, device=device)
    del kept
    limit_gpu_memory(Policy(gpu_memory_gb=10_000), device)
    torch.empty(1_100_000_000, dtype=torch.uint8, device=device)


def test_patterns_name_the_numbers_that_may_leave() -> None:
    policy = Policy(metrics=("training.*", "held_out.dice*", "segmentation/*"))
    assert policy.lets_out("training.loss") and policy.lets_out("held_out.dice_wt")
    assert not policy.lets_out("held_out.loss") and not Policy(metrics=()).lets_out("training.loss")
    assert Policy().lets_out("held_out.loss")


def test_findings_outside_plan_or_policy_stay_and_only_the_policys_are_named() -> None:
    sums = Sums(patients=9, totals=(1.0,), squares=(1.0,))
    found = Findings(weights="0" * 64, sums=dict.fromkeys(("dice/a", "dice/b", "mae/a"), sums))
    left = allow_planned(found, ["dice/a", "mae/a"], Policy(metrics=("dice/*",)))
    assert sorted(left.sums) == ["dice/a"] and left.withheld == ("mae/a",)
    assert allow_planned(found, None, Policy()) == found


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('hours = "8-17"', "site:5: policy.hours"),
        ('hours = "24:00-06:00"', "site:5: policy.hours"),
        ('hours = "06:00-06:00"', "begin and end are the same"),
        ("gpu_memory_gb = 0", "site:5: policy.gpu_memory_gb"),
        ('disk_gb = "10"', "site:5: policy.disk_gb"),
        ('metrics = ["training.los"]', "fits no number that could leave"),
        ('metrics = ["Training.*"]', "fits no number that could leave"),
        ('metrics = "training.*"', "site:5: policy.metrics"),
        ('approve_everything = "yes"', "site:5: policy.approve_everything"),
    ],
)
def test_a_limit_that_cannot_be_meant_is_refused_with_its_line(line: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(StudyError) as caught:
        parse_site(MINIMAL + line + "\n", tmp_path)
    assert message in str(caught.value)
