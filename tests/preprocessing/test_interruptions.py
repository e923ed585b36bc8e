"""Full disks, killed processes, damaged caches: nothing half written, and the same bytes in the end."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import pytest

from client.data.catalog import CatalogCase, scan_folder
from client.data.preprocessing import PrepareSettings, prepare_case, prepare_cases
from common.errors import DataError
from common.study import Grid

SETTINGS = PrepareSettings(grid=Grid(spacing_mm=(4.8, 4.8, 6.0), shape=(32, 48)), n4=False)

PROGRAM = """
import sys
from pathlib import Path
from client.data.catalog import scan_folder
from client.data.preprocessing import PrepareSettings, prepare_cases
from common.study import Grid

if __name__ == "__main__":
    settings = PrepareSettings(grid=Grid(spacing_mm=(4.8, 4.8, 6.0), shape=(32, 48)), n4=False)
    prepare_cases(scan_folder(Path(sys.argv[1])).cases, settings, Path(sys.argv[2]))
"""


@pytest.fixture(scope="module")
def cases(tiny_cohort) -> tuple[CatalogCase, ...]:
    return scan_folder(tiny_cohort.sites / "hospital-b").cases


@contextlib.contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """Let the system refuse every file that grows beyond `size` bytes, as a full disk does."""
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, old[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)
        signal.signal(signal.SIGXFSZ, handler)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_a_full_disk_ends_the_run_with_one_line_and_leaves_nothing(cases, tmp_path: Path):
    seen: list[int] = []
    with files_of_at_most(20_000), pytest.raises(DataError, match="cannot write the cache") as caught:
        prepare_cases(cases, SETTINGS, tmp_path, on_case=lambda done, _: seen.append(done))
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []
    assert seen == []


def test_a_disk_that_fills_up_in_a_worker_ends_the_run_too(cases, tmp_path: Path):
    with files_of_at_most(20_000), pytest.raises(DataError, match="free space"):
        prepare_cases(cases, SETTINGS, tmp_path, workers=2)
    assert list(tmp_path.iterdir()) == []


def test_a_killed_run_goes_on_and_ends_with_the_same_bytes(cases, tiny_cohort, tmp_path: Path):
    whole = tmp_path / "whole"
    prepare_cases(cases, SETTINGS, whole)
    program, cut = tmp_path / "program.py", tmp_path / "cut"
    program.write_text(PROGRAM)
    root = Path(__file__).parents[2]
    process = subprocess.Popen(
        [sys.executable, str(program), str(tiny_cohort.sites / "hospital-b"), str(cut)],
        env={**os.environ, "PYTHONPATH": str(root)},
    )
    deadline = time.monotonic() + 60
    while not list(cut.glob("*.safetensors")) and time.monotonic() < deadline:
        time.sleep(0.005)
    process.kill()
    process.wait()
    (cut / f".{'0' * 64}.safetensors.{process.pid}.part").write_bytes(b"half")
    kept = {path: path.stat().st_mtime_ns for path in cut.glob("*.safetensors")}
    assert kept
    prepare_cases(cases, SETTINGS, cut)
    assert contents(cut) == contents(whole)
    assert all(path.stat().st_mtime_ns == written for path, written in kept.items())


def test_what_a_living_process_writes_is_left_alone(cases, tmp_path: Path):
    part = tmp_path / f".{'0' * 64}.safetensors.{os.getpid()}.part"
    part.write_bytes(b"half")
    prepare_cases(cases[:1], SETTINGS, tmp_path)
    assert part.exists()


def test_a_damaged_cache_file_is_prepared_again(cases, tmp_path: Path):
    path = prepare_case(cases[0], SETTINGS, tmp_path).path
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    assert prepare_case(cases[0], SETTINGS, tmp_path).path == path
    assert path.read_bytes() == whole


def test_a_worker_that_dies_is_reported_with_a_remedy(cases, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):

    def broken(*_: object, **__: object) -> None:
        raise BrokenProcessPool

    monkeypatch.setattr("client.data.preprocessing.wait", broken)
    with pytest.raises(DataError, match="fewer workers"):
        prepare_cases(cases, SETTINGS, tmp_path, workers=2)
