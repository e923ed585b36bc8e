"""Memory of the site's GPUs, as the driver's own program tells; asking it takes none of that memory."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass

from common.errors import GliofedError

COMMAND = ("nvidia-smi", "--query-gpu=index,memory.used,memory.total", "--format=csv,noheader,nounits")
PATIENCE_S = 10.0
MIB = 1024 * 1024
MOST_GPUS = 64


class GpuUnknownError(GliofedError):
    """The driver does not say what the GPUs hold."""

    code = "gpu"


@dataclass(frozen=True)
class GpuMemory:
    """One GPU's memory, in bytes."""

    gpu: int
    used: int
    total: int


def gpu_memory() -> tuple[GpuMemory, ...]:
    """Return the memory of every GPU; none on a machine without the driver's program.

    Raises:
        GpuUnknownError: where that program fails or prints something else.
    """
    try:
        done = subprocess.run(COMMAND, stdin=subprocess.DEVNULL, capture_output=True, timeout=PATIENCE_S, check=False)
    except FileNotFoundError:
        return ()
    except (OSError, subprocess.TimeoutExpired) as error:
        raise GpuUnknownError(f"nvidia-smi: {type(error).__name__}") from None
    if done.returncode:
        raise GpuUnknownError(f"nvidia-smi ended with {done.returncode}; look at the driver")
    return parse_memory(done.stdout)


def parse_memory(answer: bytes) -> tuple[GpuMemory, ...]:
    """Return what `nvidia-smi` printed: index, MiB used, MiB in all, a line a GPU. Raises GpuUnknownError."""
    lines = answer.decode("ascii", "replace").splitlines()
    if len(lines) > MOST_GPUS:
        raise GpuUnknownError(f"nvidia-smi: names {len(lines)} GPUs, above {MOST_GPUS}")
    return tuple(_one(line) for line in lines if line.strip())


def _one(line: str) -> GpuMemory:
    cells = [cell.strip() for cell in line.split(",")]
    if len(cells) != 3 or not all(cell.isascii() and cell.isdigit() and len(cell) <= 9 for cell in cells):
        raise GpuUnknownError(f"nvidia-smi: {line[:60]!r} is no line of index and memory")
    index, used, total = map(int, cells)
    return GpuMemory(index, used * MIB, total * MIB)
