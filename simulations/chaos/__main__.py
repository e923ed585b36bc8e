"""`make chaos`: faults of a real deployment, a crash at every boundary, two hundred sites; exit 1 on any problem."""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from pathlib import Path

from simulations.environment import quieten_flower

quieten_flower()

import torch  # noqa: E402  (Flower's environment comes first)

from common import console  # noqa: E402
from common.errors import GliofedError  # noqa: E402
from simulations.chaos.crashes import crash_everywhere  # noqa: E402
from simulations.chaos.crowd import measure  # noqa: E402
from simulations.chaos.deployed import play_faults  # noqa: E402
from simulations.chaos.faults import FAULTS  # noqa: E402
from simulations.chaos.laws import broken_by_crowds, broken_by_fault, broken_by_time  # noqa: E402
from simulations.chaos.report import Results  # noqa: E402
from simulations.chaos.signals import end_tidily  # noqa: E402

CROWDS = (10, 50, 200)
MEMORY = Path("/dev/shm")  # noqa: S108 (a file system in memory: three hundred runs of small files)


def main() -> int:
    """Play the asked parts and return the exit status."""
    asked = _arguments()
    end_tidily()
    torch.set_num_threads(1)
    shutil.rmtree(asked.out, ignore_errors=True)
    asked.out.mkdir(parents=True)
    results = Results()
    parts = {"crashes": _crashes, "faults": _faults, "crowd": _crowd}
    for part in asked.parts or parts:
        began = time.monotonic()
        try:
            parts[part](results, asked)
        except GliofedError as error:
            results.problems.append(f"{part}: {error}")
        results.seconds[part] = round(time.monotonic() - began, 1)
        results.write(asked.out)
    if (late := broken_by_time(sum(results.seconds.values()))) is not None:
        results.problems.append(late)
        results.write(asked.out)
    for problem in results.problems:
        console.print_line(problem)
    console.print_line(f"{asked.out / 'chaos.md'}: {len(results.problems)} problems")
    return 1 if results.problems else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m simulations.chaos", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("chaos"), help="folder of results and logs; it is emptied")
    parser.add_argument("--parts", nargs="*", choices=("crashes", "faults", "crowd"), help="all, unless given")
    parser.add_argument("--faults", nargs="*", choices=tuple(FAULTS), default=tuple(FAULTS), help="all, unless given")
    parser.add_argument("--every", type=int, default=1, help="try each n-th crash point only")
    return parser.parse_args()


def _crashes(results: Results, asked: argparse.Namespace) -> None:
    """Kill the federation at each boundary; what went wrong is kept in `out/crashes`."""
    with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as folder:
        for crash in crash_everywhere(Path(folder), lambda count: range(1, count + 1, asked.every)):
            results.crashes.append(crash)
            console.print_line(f"crash {crash.number}, {crash.name}: {crash.problem or 'same bytes'}")
            if crash.problem:
                results.problems.append(f"crash {crash.number}, {crash.name}: {crash.problem}")
                kept = asked.out / "crashes" / str(crash.number)
                shutil.copytree(Path(folder) / f"failed-{crash.number}", kept)


def _faults(results: Results, asked: argparse.Namespace) -> None:
    """Strike a real deployment with each fault."""
    for row in play_faults(asked.out / "deployed", asked.faults):
        results.faults.append(row)
        results.write(asked.out)
        console.print_line(f"{row.fault}: {row.done}; {row.ended}; {row.lost} rounds lost, {row.seconds:g} s")
        if (problem := broken_by_fault(row)) is not None:
            results.problems.append(problem)


def _crowd(results: Results, asked: argparse.Namespace) -> None:
    """Measure the coordinator before growing crowds."""
    for sites in CROWDS:
        with tempfile.TemporaryDirectory(dir=asked.out) as folder:
            results.crowds.append(measure(sites, Path(folder)))
        console.print_line(f"crowd: {results.crowds[-1]}")
    results.problems += broken_by_crowds(results.crowds)


if __name__ == "__main__":
    sys.exit(main())
