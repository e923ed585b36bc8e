"""A real training step of each stage at the study's size, on slices of noise, in a process of its own.

A process of its own: where memory runs out, the system ends that one, and the doctor can still say so.
"""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Sequence
from typing import Self

from pydantic import Field, ValidationError

from client.config import Hardware, SiteConfig
from common.settings.frozen import Frozen
from common.settings.stages import GeneratorStage, Stage, Stages
from common.study import Study

LONGEST_S = 1800.0
"""After which a machine is too slow for the study."""


class Order(Frozen):
    """What is to be tried."""

    site: str
    study: str
    hardware: Hardware
    gpu_memory_gb: float | None

    @classmethod
    def of(cls, config: SiteConfig, study: Study) -> Self:
        """Return the order of a site."""
        return cls(
            site=config.name,
            study=study.canonical_json(),
            hardware=config.hardware,
            gpu_memory_gb=config.policy.gpu_memory_gb,
        )


class Cost(Frozen):
    """What a stage's step took.

    Attributes:
        problem: why there was none, a word; "" where there was.
        seconds: one step; of a private stage, one patient of it.
        peak_bytes: the most memory that was in use, on the GPU where there is one.
        rows: slices at a time, fewer than the batch where memory ran out; None where all fit.
    """

    problem: str = ""
    seconds: float = 0.0
    peak_bytes: int = 0
    rows: int | None = None


class Trial(Frozen):
    """The machine as PyTorch sees it, and what each stage costs on it.

    Attributes:
        device: `cuda` or `cpu`.
        named: the device's own name, for the screen.
        memory_bytes: of the device.
        problem: why there is nothing to tell, "" where there is.
    """

    device: str = "cpu"
    named: str = "unknown"
    memory_bytes: int = 0
    costs: dict[Stage, Cost] = Field(default_factory=dict)
    problem: str = ""


def small_study(site: str) -> Study:
    """Return what is tried where no study is known: a generator of size tiny."""
    return Study(name="small", sites=(site,), reference_site=site, stages=Stages(generator=GeneratorStage()))


def try_in_a_process(order: Order, python: Sequence[str] = (sys.executable, "-m", __name__)) -> Trial:
    """Carry `order` out in a fresh process; where nothing comes back, the trial says why."""
    try:
        done = subprocess.run(
            [*python], input=order.model_dump_json().encode(), capture_output=True, timeout=LONGEST_S, check=False
        )
    except subprocess.TimeoutExpired:
        return Trial(problem=f"it took longer than {LONGEST_S:g} s")
    except OSError as error:
        return Trial(problem=f"it could not be started ({error.strerror})")
    try:
        return Trial.model_validate_json(done.stdout.rstrip().rpartition(b"\n")[2])
    except ValidationError:
        return Trial(problem=_ended(done.returncode, done.stderr.decode("utf-8", "replace")))


def _ended(status: int, said: str) -> str:
    if status == -signal.SIGKILL:
        return "the system killed it, most likely because memory ran out"
    words = said.strip().splitlines()
    return f"it ended with status {status}{f' ({words[-1][:200]})' if words else ''}"


def main() -> None:
    """Read an order from stdin, carry it out, and write the trial to stdout."""
    from client.doctor.steps import try_steps

    order = Order.model_validate_json(sys.stdin.buffer.read())
    sys.stdout.write(f"\n{try_steps(order).model_dump_json()}\n")


if __name__ == "__main__":
    main()
