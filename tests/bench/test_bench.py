"""Laws of the bench: what it counts, what it refuses, what its file says. Nothing here looks at a time."""

from __future__ import annotations

import json
import multiprocessing
from dataclasses import replace

import pytest
import torch
from torch import nn

from common.errors import GliofedError
from common.nets.conditional_unet import ConditionalUNet
from common.settings.stages import Stage
from simulations.bench.bench import BenchSettings, _Remote, in_a_process, run_bench
from simulations.bench.case import BRAIN_SHARE, disc
from simulations.bench.counts import count_flops, count_parameters, count_step
from simulations.bench.plain_cbsi import LinearAttention, PlainCbsi, StandardisedConv
from simulations.bench.report import BenchReport
from simulations.bench.stopwatch import Job, Stopwatch, spread
from simulations.bench.table import COLUMNS, row_of
from simulations.bench.workloads import MEASURED, SHAPES, BatchShape, prepare
from simulations.commands.bench import ModelChoice

SMALL = BatchShape(2, 32, 32)
CPU = torch.device("cpu")


def test_a_convolution_has_two_operations_a_weight_and_position_and_its_backward_pass_twice_as_many() -> None:
    layer = nn.Conv2d(3, 5, 3, padding=1, bias=False)
    image = torch.zeros(2, 3, 8, 8, requires_grad=True)
    forward = 2 * (3 * 5 * 3 * 3) * (2 * 8 * 8)
    assert count_parameters(layer) == 3 * 5 * 3 * 3
    assert count_flops(lambda: layer(image)) == forward
    assert count_flops(lambda: layer(image).sum().backward()) == 3 * forward


def test_training_memory_is_weights_gradients_moments_and_what_the_backward_pass_needs() -> None:
    layer = nn.Linear(4, 6, bias=False)
    optimiser = torch.optim.Adam(layer.parameters())
    batch = torch.ones(5, 4)

    def train() -> None:
        optimiser.zero_grad()
        layer(batch).sum().backward()
        optimiser.step()

    values = 4 * 6
    step_counter = 1
    expected = 4 * (values + values + 2 * values + step_counter + batch.numel())
    counts = count_step(layer, [optimiser], train)
    assert counts.memory_bytes == expected
    assert counts.flops == 2 * (2 * 5 * values)


def published(height: int, width: int) -> tuple[int, int]:
    with torch.device("meta"):
        model = PlainCbsi()
        numbers = torch.zeros(1, dtype=torch.int64)
        image, condition = torch.zeros(1, 1, height, width), torch.zeros(1, 2, height, width)
        return count_parameters(model), count_flops(lambda: model(image, numbers, condition, numbers))


def test_the_plain_network_is_as_large_and_as_dear_as_the_published_one() -> None:
    parameters, flops = published(424, 424)
    assert parameters == pytest.approx(9.36e6, rel=0.1)
    assert flops / 2 == pytest.approx(96.5e9, rel=0.1)


def test_our_paper_size_network_is_as_large_as_the_published_one() -> None:
    with torch.device("meta"):
        assert count_parameters(ConditionalUNet("paper")) == pytest.approx(9.4e6, rel=0.1)


def test_standardised_weights_have_mean_zero_and_variance_one() -> None:
    layer = StandardisedConv(2, 3, 3)
    impulse = torch.zeros(1, 2, 9, 9)
    impulse[0, 0, 4, 4] = 1
    other = torch.zeros(1, 2, 9, 9)
    other[0, 1, 4, 4] = 1
    response = torch.cat([layer(each) - layer.bias[None, :, None, None] for each in (impulse, other)])
    assert torch.allclose(response.sum((0, 2, 3)), torch.zeros(3), atol=1e-4)
    assert torch.allclose(response.square().sum((0, 2, 3)) / (2 * 9), torch.ones(3), atol=1e-2)


def test_linear_attention_with_zero_values_leaves_the_map_alone() -> None:
    attention = LinearAttention(8)
    nn.init.zeros_(attention.qkv.weight)
    nn.init.zeros_(attention.out[0].bias)  # type: ignore[arg-type]
    x = torch.randn(2, 8, 4, 4)
    assert torch.equal(attention(x), x)


@pytest.mark.parametrize("stage", MEASURED)
def test_every_stage_has_a_workload_that_trains_and_infers(stage: Stage) -> None:
    work = prepare(stage, "tiny", "ours", SMALL, CPU)
    before = [parameter.detach().clone() for parameter in work.model.parameters()]
    assert count_step(work.model, work.optimisers, work.train).flops > 2 * count_flops(work.infer)
    with torch.inference_mode():
        work.infer()
    assert any(not torch.equal(a, b) for a, b in zip(before, work.model.parameters(), strict=True))
    assert stage in SHAPES["paper"]


@pytest.fixture(scope="module")
def heard() -> list[tuple[int, int]]:
    return []


@pytest.fixture(scope="module")
def report(heard: list[tuple[int, int]]) -> BenchReport:
    """What one turn of the synthesiser's tasks told, in this process; `heard` holds its progress."""
    settings = BenchSettings((Stage.SYNTHESISER,), turns=1, sampling_steps=2, case_slices=1, shape=SMALL)
    with pytest.MonkeyPatch.context() as patch:  # how fast the machine is at its best is not looked at here
        patch.setattr("simulations.bench.rates.MATRIX", {"cpu": 64})
        patch.setattr("simulations.bench.rates.CONVOLUTIONS", ((8, 16),))
        patch.setattr("simulations.bench.stopwatch.SHORTEST_TURN_S", 0.01)
        return run_bench(settings, lambda done, total: heard.append((done, total)), opener=Stopwatch)


def test_the_report_sets_ours_against_the_plain_form_and_survives_its_own_schema(
    report: BenchReport, heard: list[tuple[int, int]]
) -> None:
    assert heard == [(number, 5) for number in range(1, 6)]
    assert [(each.task, each.form) for each in report.measurements] == [
        (task, form) for task in ("training step", "inference", "case") for form in ("plain", "ours")
    ]
    plain_slice, plain_case, our_case = report.measurements[2], report.measurements[4], report.measurements[5]
    assert plain_case.seconds.median == pytest.approx(plain_slice.seconds.median * 1 * 2 * 100)
    assert plain_case.extrapolated and our_case.sampling_steps == 2
    assert our_case.times_faster == pytest.approx(plain_case.seconds.median / our_case.seconds.median)
    assert BenchReport.model_validate_json(report.model_dump_json()) == report
    assert all(len(row_of(each)) == len(COLUMNS) for each in report.measurements)


def test_the_report_names_no_host_path_or_user(report: BenchReport) -> None:
    import getpass
    import socket

    text = json.dumps(report.model_dump(mode="json"))
    assert not any(word in text for word in (socket.gethostname(), "/home", "/tmp", f'"{getpass.getuser()}"'))  # noqa: S108


def test_a_measuring_process_answers_and_ends() -> None:
    job = Job(Stage.IDENTIFIER, "tiny", "inference", "ours", SMALL)
    with in_a_process(job) as watch:
        watch.turn()
        assert watch.result().seconds.turns == 1
    assert not multiprocessing.active_children()


def test_a_pipe_without_another_end_is_told_as_an_early_end() -> None:
    ours, theirs = multiprocessing.Pipe()
    theirs.close()
    with pytest.raises(GliofedError, match="ended early"):
        _Remote(ours)


@pytest.mark.slow
def test_an_early_end_of_a_measuring_process_is_told() -> None:
    job = replace(Job(Stage.IDENTIFIER, "tiny", "inference", "ours", SMALL), shape=BatchShape(-1, 32, 32))
    with pytest.raises(GliofedError, match="ended early"), in_a_process(job):
        pass


def test_the_command_line_offers_every_measured_model() -> None:
    assert [choice.value for choice in ModelChoice] == [stage.value for stage in MEASURED]


def test_a_missing_gpu_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(GliofedError, match="--device cpu"):
        run_bench(BenchSettings(device="cuda"), lambda done, total: None)


def test_the_median_lies_between_least_and_most() -> None:
    assert spread([3.0, 1.0, 2.0]).model_dump() == {"median": 2.0, "least": 1.0, "most": 3.0, "turns": 3}


def test_the_case_has_a_brain_whose_box_is_two_thirds_of_the_slice() -> None:
    rows, columns = disc(424, 424).any(1), disc(424, 424).any(0)
    assert rows.sum() * columns.sum() / 424**2 == pytest.approx(BRAIN_SHARE, abs=0.01)
