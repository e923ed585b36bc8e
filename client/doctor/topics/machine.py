"""What the machine is: disk, memory, and what it might write down of patients."""

from __future__ import annotations

from pathlib import Path

from client.doctor.check import Check, Topic
from client.doctor.finding import Finding, failed, passed, warned
from client.doctor.surroundings import Surroundings
from client.limits import GB
from common.errors import GliofedError
from common.study import Study

HEAD_MM = 220.0
STATE_GB = 5.0
"""What models, updates and logs take beside the slices."""
LEAST_SHM_BYTES = 256 * 1024**2
LEAST_GB = {"tiny": 4.0, "paper": 16.0}


def disk(around: Surroundings) -> Finding:
    """Whether the disk under workdir, and the policy, leave room for what the study needs."""
    config = around.config
    need = STATE_GB + slices_gb(around.study, len(around.catalog.cases))
    place = next(each for each in (config.workdir, *config.workdir.parents) if each.exists())
    free = around.disk(place).free / GB
    figures = {"free_gb": round(free, 1), "need_gb": round(need, 1)}
    said = f"{free:.0f} GB free under workdir, about {need:.0f} needed"
    if config.policy.disk_gb is not None and config.policy.disk_gb < need:
        what = f"policy.disk_gb lets workdir hold {config.policy.disk_gb:g} GB, about {need:.0f} are needed"
        return failed("disk-limit", what, "raise policy.disk_gb in site.toml", **figures)
    if free < need:
        return failed("disk-full", said, "free space, or move workdir to a larger disk", **figures)
    if free < 2 * need:
        return warned("disk-tight", said, "free space, or move workdir to a larger disk", **figures)
    return passed(said, **figures)


def slices_gb(study: Study | None, cases: int) -> float:
    """Return what prepared slices take: fp32 a sequence, a byte each for brain and labels."""
    grid, sequences = (study.grid, len(study.sequences)) if study else (None, 4)
    shape, thick_mm = (grid.shape, grid.spacing_mm[2]) if grid else ((240, 240), 1.0)
    return cases * shape[0] * shape[1] * HEAD_MM / thick_mm * (4 * sequences + 2) / GB


def shared_memory(around: Surroundings) -> Finding:
    """Whether /dev/shm is as large as PyTorch and NumPy like it."""
    place = around.root / "dev/shm"
    if not place.is_dir():
        return warned("no-shm", "there is no /dev/shm", "mount it, or give the container --shm-size=2g")
    total = around.disk(place).total
    if total < LEAST_SHM_BYTES:
        what = f"shared memory holds {total / 1e6:.0f} MB"
        return warned("small-shm", what, "give the container --shm-size=2g", mb=total // 1_000_000)
    return passed(f"shared memory holds {total / 1e6:.0f} MB", mb=total // 1_000_000)


def memory(around: Surroundings) -> Finding:
    """Whether there is memory for the study's size."""
    lines = dict(line.split(":", 1) for line in (around.system("proc/meminfo") or "").splitlines() if ":" in line)
    try:
        free = int(lines["MemAvailable"].split()[0]) * 1024 / GB
    except (KeyError, ValueError, IndexError):
        return warned("memory-unknown", "the system does not say how much memory is free", "look with `free -g`")
    least = LEAST_GB[around.study.size if around.study else "tiny"]
    figures = {"available_gb": round(free, 1), "least_gb": least}
    said = f"{free:.0f} GB of memory are available"
    if free < least:
        remedy = "stop what else runs here, or give the machine or the container more memory"
        return warned("little-memory", f"{said}, {least:g} are advised", remedy, **figures)
    return passed(said, **figures)


def core_dumps(around: Surroundings) -> Finding:
    """Whether a crash would write memory, and with it scans, to a disk."""
    limits = (around.system("proc/self/limits") or "").splitlines()
    soft = next((line.split()[4] for line in limits if line.startswith("Max core file size")), "0")
    if soft == "0":
        return passed("a crash writes no memory to a disk")
    remedy = "set LimitCORE=0 in the unit, or `ulimit -c 0` before the client starts"
    return warned("core-dumps", "a crash writes this program's memory, and with it scans, to a disk", remedy)


def swap(around: Surroundings) -> Finding:
    """Whether memory, and with it scans, may be written to an unencrypted swap."""
    lines = [line.split() for line in (around.system("proc/swaps") or "").splitlines()[1:]]
    open_ones = [parts[0] for parts in lines if parts and not _is_encrypted(around, Path(parts[0]).name)]
    if not open_ones:
        return passed("no swap, or an encrypted one")
    remedy = "encrypt the swap (dm-crypt), or turn it off with `swapoff -a`"
    return warned("open-swap", f"swap that is not encrypted: {', '.join(open_ones)}", remedy, swaps=len(open_ones))


def _is_encrypted(around: Surroundings, device: str) -> bool:
    if device.startswith("zram"):
        return True  # memory itself
    return (around.system(f"sys/block/{device}/dm/uuid") or "").startswith("CRYPT-")


TOPIC = Topic(
    "machine",
    (
        Check("disk", "room under workdir, and in policy.disk_gb, for what the study needs", disk, GliofedError),
        Check("shared-memory", "shared memory holds 256 MiB or more", shared_memory, GliofedError),
        Check("memory", "memory available for the study's size", memory, GliofedError),
        Check("core-dumps", "a crash writes no memory to a disk", core_dumps, GliofedError),
        Check("swap", "swap is encrypted, or there is none", swap, GliofedError),
    ),
)
