"""An update that the gate refuses leaves no trace in the bytes: the run ends as if that site had sent nothing."""

from __future__ import annotations

import copy
import json
import sqlite3
from collections.abc import Callable, Mapping
from contextlib import closing
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, RecordDict

from client.training.tasks import Bench
from common.metrics.operating_point import TABLE_SHAPE
from common.metrics.platt import BINS
from common.nets.validation_table import ValidationTable
from common.parameters import STATISTICS
from common.parcel import unwrap, wrap
from common.records import ANSWER, RAW, UPDATE, Answer, pack_text
from common.release import load_release
from common.sequences import Sequence
from common.settings.stages import Stage
from server.journal.journal import FILE
from server.result import RunResult
from simulations.grid import InProcessGrid

T1, T2 = Sequence.T1, Sequence.T2
Spoil = Callable[[RecordDict], RecordDict]


def changed(content: RecordDict, name: str, change: Callable[[torch.Tensor], torch.Tensor]) -> RecordDict:
    """Return the answer with one tensor changed."""
    arrays = dict(content[UPDATE].items())
    array = arrays[name]
    dtype = getattr(torch, array.dtype)
    tensor = change(torch.frombuffer(bytearray(array.data), dtype=dtype).reshape(tuple(array.shape)))
    arrays[name] = Array(array.dtype, tuple(tensor.shape), RAW, tensor.contiguous().numpy().tobytes())
    return RecordDict({**content, UPDATE: ArrayRecord(arrays)})


def a_hundredfold(content: RecordDict) -> RecordDict:
    for name in list(content[UPDATE]):
        content = changed(content, name, lambda tensor: tensor * 100)
    return content


def oversized(content: RecordDict) -> RecordDict:
    arrays = dict(content[UPDATE].items())
    arrays["trunk.weight"] = Array("float32", (1, 1), RAW, bytes(4096))
    return RecordDict({**content, UPDATE: ArrayRecord(arrays)})


class Replay:
    """Sends the first update again and again."""

    def __init__(self) -> None:
        self.first: RecordDict | None = None

    def __call__(self, content: RecordDict) -> RecordDict:
        if self.first is None:
            self.first = copy.deepcopy(content)
            return silent(content)  # in the first round it would be no replay
        return copy.deepcopy(self.first)


def silent(content: RecordDict) -> RecordDict:
    return RecordDict({ANSWER: pack_text(Answer(site="d", code="data"))})


SPOILT: dict[str, Callable[[], Spoil]] = {
    "not-finite": lambda: lambda c: changed(c, "trunk.weight", lambda tensor: tensor * float("nan")),
    "wrong-shape": lambda: lambda c: changed(c, "trunk.weight", lambda tensor: tensor.reshape(1)),
    "wrong-size": lambda: oversized,
    "large-norm": lambda: a_hundredfold,
    "replayed": Replay,
}


def player(parts: SimpleNamespace, consortium: Any) -> Callable[..., RunResult]:
    """Return a function that runs four sites of which `d` spoils what it sends."""
    for number, name in enumerate("abcd"):
        consortium.add(name, 2 + number % 2, [T1, T2] if number % 2 else [T2], shift=0.1 * number)
    deliver = InProcessGrid._deliver

    def run(where: str, spoil: Spoil, **more: Any) -> RunResult:
        def hostile(grid: InProcessGrid, message: Message) -> Message:
            reply = deliver(grid, message)
            content = unwrap(reply.content)
            record = content.get(ANSWER)
            said = json.loads(str(record["json"])) if isinstance(record, ConfigRecord) else {}
            if said.get("site") == "d" and UPDATE in content:
                reply.content = wrap(spoil(content))
            return reply

        for state in consortium.root.glob("sites/*/work/state"):
            state.rename(state.with_name(f"state-before-{where}"))
        study = more.pop("study", parts.make_study(["a", "b", "c", "d"]))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(InProcessGrid, "_deliver", hostile)
            result: RunResult = consortium.run(study, where=where, **more)
        return result

    return run


@pytest.fixture
def play(tiny: SimpleNamespace) -> Callable[..., RunResult]:
    """`player`, on sites of the test's own."""
    return player(tiny, tiny.consortium)


@pytest.fixture(scope="module")
def without(parts: SimpleNamespace, tmp_path_factory: pytest.TempPathFactory) -> RunResult:
    """The run in which `d` sends nothing."""
    return player(parts, parts.consortium_at(tmp_path_factory.mktemp("without")))("without", silent)


@pytest.mark.parametrize("code", SPOILT)
def test_a_refused_site_is_named_and_the_release_is_that_of_a_run_without_it(
    code: str, without: RunResult, play: Callable[[str, Spoil], RunResult]
) -> None:
    spoilt = play("spoilt", SPOILT[code]())
    assert spoilt.status == "complete" and spoilt.release_digest == without.release_digest
    expected = ["data", "replayed", "replayed"] if code == "replayed" else [code] * 3
    assert [(fault.site, fault.code) for fault in spoilt.faults] == [("d", each) for each in expected]
    (_, _, last) = [json.loads(line) for line in (spoilt.out / "metrics.jsonl").read_text().splitlines()]
    refusal = last["sites"]["d"]["refusal"]
    assert refusal and ("d " in refusal or "trunk.weight" in refusal)
    with closing(sqlite3.connect(spoilt.out / FILE)) as journal:
        accepted = [site for (site,) in journal.execute("SELECT DISTINCT site FROM updates ORDER BY site")]
    assert accepted == ["a", "b", "c"]


class TableStep:
    """Answers the calibration: a true table of two validation patients, one of either status."""

    optimisers: Mapping[str, torch.optim.Optimizer] = {}

    def __init__(self, model: ValidationTable) -> None:
        self.model = model

    def draw(self, generator: torch.Generator) -> None:
        return None

    def __call__(self, batch: None) -> dict[str, float]:
        decisions, scores = torch.zeros(TABLE_SHAPE, dtype=torch.float64), torch.zeros(2, BINS, dtype=torch.float64)
        decisions[:, :15, 1, 0] = decisions[:, 15:, 1, 1] = decisions[:, :8, 0, 0] = decisions[:, 8:, 0, 1] = 0.5
        scores[0, 3] = scores[1, 7] = 0.5
        self.model.fill(decisions, scores)
        return {}

    def evaluate(self, store: Any) -> dict[str, Any]:
        return {}

    def patients(self) -> dict[str, int]:
        return {STATISTICS: 2}

    def behind(self) -> dict[str, int]:
        return {STATISTICS: 1}


def test_a_table_of_validation_patients_that_is_none_costs_the_others_nothing(
    play: Callable[..., RunResult], tiny: SimpleNamespace
) -> None:
    def build(stage: Stage, *given: Any) -> torch.nn.Module:
        return ValidationTable() if stage is Stage.CALIBRATION else tiny.build(stage, *given)

    def builder(stage: Stage) -> Any:
        return (lambda model, _: TableStep(model)) if stage is Stage.CALIBRATION else tiny.linear_step()(stage)

    def spoil(value: float, content: RecordDict) -> RecordDict:
        if "statistics.scores" not in content[UPDATE]:
            return content
        return changed(content, "statistics.decisions", lambda table: value * torch.ones_like(table))

    def silent_then(content: RecordDict) -> RecordDict:
        return silent(content) if "statistics.scores" in content[UPDATE] else content

    stages = {f"stages__{stage}": "rounds = 1\nlocal_steps = 1" for stage in ("generator", "synthesiser", "segmenter")}
    identifier = "rounds = 1\nlocal_steps = 1\nvalidation_fraction = 0.2"
    study = tiny.make_study(["a", "b", "c", "d"], stages__identifier=identifier, **stages)
    more = {"study": study, "bench": Bench(build, builder, torch.device("cpu"))}
    without = play("without", silent_then, **more)
    for value in (100.0, 1e308):
        spoilt = play(f"spoilt-{value}", partial(spoil, value), **more)
        assert spoilt.status == "complete" and spoilt.release_digest == without.release_digest
        assert [(fault.site, fault.code) for fault in spoilt.faults] == [("d", "out-of-range")]
        facts = load_release(spoilt.release).manifest.identifier
        assert facts is not None and facts.fitted and facts.validation == {"a": 2, "b": 2, "c": 2}


def test_an_honest_site_of_the_same_consortium_does_count(
    without: RunResult, play: Callable[[str, Spoil], RunResult]
) -> None:
    honest = play("honest", lambda content: content)
    assert honest.faults == () and honest.release_digest != without.release_digest
