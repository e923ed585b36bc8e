"""The injector kills where it says; a federation killed at its boundaries ends with the same bytes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from simulations.chaos.boundaries import Boundaries
from simulations.chaos.scene import in_fork

ROOT = Path(__file__).parents[2]


def write_twice(folder: Path) -> None:
    for name in ("one", "two"):
        aside = folder / f".{name}"
        with aside.open("w") as file:
            file.write(name)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(folder / name)


def struck_at(folder: Path, number: int | None) -> tuple[int, list[str]]:
    disk, page = folder / "disk", folder / "points"
    disk.mkdir()

    def work() -> None:
        def note(name: str) -> None:
            with page.open("a") as file:
                file.write(f"{name}\n")

        Boundaries([disk], number, note).install()
        write_twice(disk)

    return in_fork(work, folder / "log"), page.read_text().splitlines()


def test_points_with_the_same_disk_are_one(tmp_path: Path) -> None:
    ended, names = struck_at(tmp_path, None)
    assert ended == 0
    # flushing changes nothing that is read after a SIGKILL, so that before and after it, and before the rename, are one
    assert names == [
        "before fsync",
        "after replace disk/one",
        "before fsync",
        "after replace disk/two",
    ]


@pytest.mark.parametrize(("number", "found"), [(1, {".one"}), (2, {"one"}), (3, {"one", ".two"}), (4, {"one", "two"})])
def test_the_process_dies_at_its_point(number: int, found: set[str], tmp_path: Path) -> None:
    ended, names = struck_at(tmp_path, number)
    assert ended == -signal.SIGKILL
    assert len(names) == number
    assert {path.name for path in (tmp_path / "disk").iterdir()} == found


def crash(out: Path, every: int) -> dict[str, list[dict[str, object]]]:
    """Play the crashes as `make chaos` does, in a process that may fork."""
    command = [sys.executable, "-m", "simulations.chaos", "--out", str(out), "--parts", "crashes"]
    done = subprocess.run([*command, "--every", str(every)], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    found: dict[str, list[dict[str, object]]] = json.loads((out / "results.json").read_text())
    return found


def test_a_federation_killed_at_a_few_boundaries_ends_with_the_same_bytes(tmp_path: Path) -> None:
    found = crash(tmp_path / "chaos", every=150)
    assert len(found["crashes"]) >= 2
    assert not found["problems"]


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_federation_killed_at_every_boundary_ends_with_the_same_bytes(tmp_path: Path) -> None:
    found = crash(tmp_path / "chaos", every=1)
    assert len(found["crashes"]) >= 40
    assert not found["problems"]
