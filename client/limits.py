"""What a site's machine may be used for: at which hours, how much of its disk, how much of its GPU's memory."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from client.config import Policy
from common.errors import PolicyError
from common.records import OUTSIDE_HOURS

if TYPE_CHECKING:
    import torch

GB = 1e9


class OutsideHoursError(PolicyError):
    """The policy lets nothing be worked on at this time of the day; the coordinator asks again."""

    code = OUTSIDE_HOURS


class DiskLimitError(PolicyError):
    """The workdir holds as much as the policy lets it."""

    code = "disk-limit"


def local_now() -> datetime:
    """Return the time on the wall of the site."""
    return datetime.now().astimezone()


def require_hours(policy: Policy) -> None:
    """Raise OutsideHoursError where no message may be worked on now."""
    now = local_now().time()
    if not policy.is_open(now):
        raise OutsideHoursError(f"it is {now:%H:%M}, and policy.hours is {policy.hours}; the coordinator asks again")


def require_disk(workdir: Path, policy: Policy, incoming: int = 0) -> None:
    """Raise DiskLimitError where `workdir` would hold more than the policy allows, with `incoming` bytes beside."""
    if policy.disk_gb is None:
        return
    held = sum(path.lstat().st_size for path in workdir.rglob("*") if path.is_file())
    if held + incoming > policy.disk_gb * GB:
        raise DiskLimitError(
            f"{workdir}: holds {held / GB:.3g} GB and would take {incoming / GB:.3g} more, policy.disk_gb is "
            f"{policy.disk_gb:g}; raise it, or remove what older runs left in state/"
        )


def limit_gpu_memory(policy: Policy, device: torch.device) -> None:
    """Let this process take no more of a GPU's memory than the policy allows; on a CPU there is nothing to limit."""
    if policy.gpu_memory_gb is None or device.type != "cuda":
        return
    import torch

    whole = torch.cuda.get_device_properties(device).total_memory
    torch.cuda.set_per_process_memory_fraction(min(1.0, policy.gpu_memory_gb * GB / whole), device)
