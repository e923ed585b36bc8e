"""Fixtures for all tests: one thread, and one tiny phantom consortium a session."""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

from typing import TYPE_CHECKING

import pytest
import torch

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from simulations.phantom.cohort import Cohort

torch.set_num_threads(1)
SHARED = "tests/closed/"


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> object:
    """With `--dist loadfile`, give all files that share the closed deployment to one worker: it takes long to start."""
    from xdist.scheduler import LoadFileScheduling

    class LoadDeployment(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file: str = super()._split_scope(nodeid)
            return SHARED if file.startswith(SHARED) else file

    return LoadDeployment(config, log) if config.getvalue("dist") == "loadfile" else None


@pytest.fixture(scope="session", autouse=True)
def unflushed() -> Iterator[None]:
    """Let no test wait for the disk: a flush shows after a power cut alone, which no test can make.

    Children flush as ever, and a test that looks at flushes puts its own in the place of this one.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        yield


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of the five real patients, `../shared/data`; only a machine without any `../shared` does without."""
    from pathlib import Path

    shared = Path(__file__).resolve().parents[2] / "shared"
    if not shared.is_dir():
        pytest.skip(f"the five real patients would be in {shared}, which is not there")
    missing = [name for name in ("site-a", "site-b", "site-c", "reference") if not (shared / "data" / name).is_dir()]
    assert not missing, f"{shared / 'data'} lacks {', '.join(missing)}"
    return shared / "data"


@pytest.fixture(scope="session")
def tiny_cohort(tmp_path_factory: pytest.TempPathFactory) -> Cohort:
    """Three hospitals of three patients each at 4 mm; `.sites` and `.truth` are its folders."""
    from simulations.phantom.cohort import write_cohort
    from simulations.scenario import load_scenario

    out = tmp_path_factory.mktemp("cohort")
    return write_cohort(out, load_scenario("three-hospitals"), patients=3, seed=7, spacing_mm=4.0)


@pytest.fixture(scope="session")
def tiny_site(tiny_cohort: Cohort) -> Path:
    """Folder of hospital-a, in the BraTS 2021 layout."""
    return tiny_cohort.sites / "hospital-a"
