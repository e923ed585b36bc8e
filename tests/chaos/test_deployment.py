"""A real deployment over TLS: its engine gives the bytes of the run in process, killed processes or not."""

from __future__ import annotations

from pathlib import Path

import pytest

from simulations.chaos.deployed import hand_over, play_faults, run_here, weights_of
from simulations.chaos.hospitals import draw_hospitals, small_study
from simulations.deployment.deployment import Deployment
from simulations.deployment.driver import Driver
from simulations.federation import run_federation


@pytest.mark.timeout(900)  # 80 s on an idle machine of two cores; each message starts a process
def test_a_killed_superlink_and_a_killed_coordinator_leave_the_bytes_of_the_run_in_process(tmp_path: Path) -> None:
    names = ("superlink-killed", "server-app-killed")
    rows = list(play_faults(tmp_path, names, spare_rounds=0, then_lack_a_site=False))
    assert [row.fault for row in rows] == [*names, "all of these"]
    assert [row.lost for row in rows] == [0, 0, 0], rows
    assert all(row.restarts for row in rows[:-1])


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.filterwarnings("ignore::ResourceWarning")  # Ray leaves its own pipes open
def test_in_process_on_ray_and_over_tls_two_rounds_give_the_same_weights(tmp_path: Path) -> None:
    study, hospitals = small_study(rounds=2), draw_hospitals(tmp_path / "phantom")
    here = run_here(study, hospitals, tmp_path / "here")
    files = hospitals.files(study, tmp_path / "ray" / "sites")
    run_federation(study, files, tmp_path / "ray" / "run", engine="ray").require_complete()
    files = hospitals.files(study, tmp_path / "tls" / "sites")
    with Deployment(tmp_path / "tls" / "deployment", files) as deployment:
        settings = hand_over(study, tmp_path / "tls" / "run", tmp_path / "tls" / "study.toml")
        with Driver(deployment, settings) as driver:
            assert driver.wait(patience_s=600.0) == "complete"
    assert weights_of(tmp_path / "ray" / "run") == here
    assert weights_of(tmp_path / "tls" / "run") == here
