"""Whether a machine can train a study: one real step at `tiny`, and every way in which it can fall short."""

from __future__ import annotations

import sys
from dataclasses import replace

import pytest

from client.doctor.check import examine
from client.doctor.finding import Mark
from client.doctor.steps import try_steps
from client.doctor.topics.training import TOPIC
from client.doctor.trial import Cost, Order, Trial, try_in_a_process
from common.settings.stages import Stage
from common.study import parse_study
from tests.doctor.conftest import STUDY, Hospital


def on_a(device: str = "cpu", **costs: Cost) -> dict[str, object]:
    named = {Stage(stage): cost for stage, cost in costs.items()}
    return {"attempt": lambda order: Trial(device=device, named=device, memory_bytes=10**10, costs=named)}


def test_a_real_step_is_taken_timed_and_weighed(hospital: Hospital) -> None:
    trial = try_steps(Order.of(hospital.site.config, hospital.study))
    assert list(trial.costs) == [Stage.GENERATOR]
    cost = trial.costs[Stage.GENERATOR]
    assert (cost.problem, cost.rows) == ("", None)
    assert cost.seconds > 0
    assert cost.peak_bytes > 10**8
    assert trial.memory_bytes > 10**9


def test_a_trial_that_the_system_kills_is_told_as_memory(hospital: Hospital) -> None:
    killed = (sys.executable, "-c", "import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
    trial = try_in_a_process(Order.of(hospital.site.config, hospital.study), killed)
    assert "killed it" in trial.problem
    found = hospital.ask("training-step", attempt=lambda order: trial)
    assert (found.mark, found.code) == (Mark.FAIL, "no-trial")
    assert "hardware.micro_batch" in found.remedy
    assert hospital.ask("device", attempt=lambda order: trial).mark is Mark.SKIP


def test_a_trial_that_fails_is_told_in_its_own_last_words(hospital: Hospital) -> None:
    broken = (sys.executable, "-c", "raise SystemExit('driver too old')")
    assert "driver too old" in try_in_a_process(Order.of(hospital.site.config, hospital.study), broken).problem
    assert (
        "could not be started"
        in try_in_a_process(Order.of(hospital.site.config, hospital.study), ("/no/such",)).problem
    )


def test_a_step_that_does_not_fit_is_told_with_what_to_give_up(hospital: Hospital) -> None:
    found = hospital.ask("training-step", **on_a(generator=Cost(problem="out-of-memory")))
    assert (found.mark, found.code) == (Mark.FAIL, "no-step")
    assert "generator: out-of-memory" in found.what
    assert "policy.gpu_memory_gb" in found.remedy
    assert hospital.ask("round-time", **on_a(generator=Cost(problem="out-of-memory"))).mark is Mark.SKIP


def test_a_batch_that_fits_in_parts_is_warned_of(hospital: Hospital) -> None:
    found = hospital.ask("training-step", **on_a(generator=Cost(seconds=1, rows=4)))
    assert (found.mark, found.code) == (Mark.WARN, "fewer-rows")
    hospital.says("hardware.micro_batch = 4")
    assert hospital.ask("training-step", **on_a(generator=Cost(seconds=1, rows=4))).mark is Mark.PASS


@pytest.mark.parametrize(("seconds", "mark"), [(400.0, Mark.FAIL), (200.0, Mark.WARN), (1.0, Mark.PASS)])
def test_a_round_is_ten_steps_and_a_start_against_an_hour(hospital: Hospital, seconds: float, mark: Mark) -> None:
    found = hospital.ask("round-time", **on_a(generator=Cost(seconds=seconds)))
    assert (found.mark, found.figures) == (mark, {"generator_s": 25 + 10 * seconds})
    assert mark is Mark.PASS or "deadline_s" in found.remedy


def test_a_private_step_counts_once_for_each_patient_that_it_draws(hospital: Hospital) -> None:
    study = parse_study(STUDY + '[privacy]\nstages = ["generator"]\nsampling_rate = 0.5\n')
    found = hospital.ask("round-time", study, **on_a(generator=Cost(seconds=1.0)))
    assert found.figures == {"generator_s": 25 + 10 * 3}


def test_a_gpu_whose_driver_is_there_but_cannot_be_used_is_told(hospital: Hospital) -> None:
    driver = hospital.root / "proc/driver/nvidia/version"
    driver.parent.mkdir(parents=True)
    driver.write_text("NVRM version: NVIDIA 570\n")
    found = hospital.ask("device")
    assert (found.mark, found.code) == (Mark.FAIL, "gpu-unused")
    assert "nvidia-smi" in found.remedy
    assert hospital.ask("device", **on_a("cuda")).mark is Mark.PASS


def test_a_paper_study_without_a_gpu_is_warned_of(hospital: Hospital) -> None:
    found = hospital.ask("device", parse_study('size = "paper"\n' + STUDY))
    assert (found.mark, found.code) == (Mark.WARN, "no-gpu")
    assert "use a machine with a GPU" in found.remedy


def test_where_no_study_is_known_a_small_one_is_tried(hospital: Hospital) -> None:
    tried: list[Order] = []

    def attempt(order: Order) -> Trial:
        tried.append(order)
        return Trial(costs={Stage.GENERATOR: Cost(seconds=1)})

    found = replace(hospital.around(attempt=attempt), study=None)
    results = {each.check.name: each.finding for each in examine(found, [TOPIC], lambda check: None)}
    assert '"size":"tiny"' in tried[0].study
    assert "of a small one generator 1 s" in results["training-step"].what
    assert results["round-time"].what == "not checked: no study; give one with --study or --plan"
