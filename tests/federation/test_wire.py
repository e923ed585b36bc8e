"""What a round sends to each site and back: only what it may know and lacks, coded as the study says."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from flwr.app import ArrayRecord
from safetensors.torch import load_file

from client.training.tasks import Bench
from common.parameters import PLAIN, Grouping, known_groups
from common.parcel import unwrap
from common.records import EARLIER, GLOBAL, WireError, declare, pack_tensors
from common.sequences import Domain, Sequence, with_twins
from common.settings.wire import Wire
from common.study import Study
from common.wire.selection import coding_of
from server.downlink import Downlink
from server.events import RoundFinished, RoundStarted, SiteAnswered
from server.result import RunResult
from simulations.grid import InProcessGrid

CODED = {"lossless": "", "bf16": 'down = "bf16"\nup = "bf16"', "int8": 'down = "bf16"\nup = "int8"'}


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, dict[str, list[str]]]]:
    """Node, and arrays by record, of every task that goes out."""
    tasks: list[tuple[int, dict[str, list[str]]]] = []
    push = InProcessGrid.push_messages

    def listen(grid: InProcessGrid, messages: Any) -> Any:
        found = list(messages)
        for message in found:
            content = unwrap(message.content).items()
            arrays = {key: list(value) for key, value in content if isinstance(value, ArrayRecord)}
            if message.metadata.message_type == "train":
                tasks.append((message.metadata.dst_node_id, arrays))
        return push(grid, found)

    monkeypatch.setattr(InProcessGrid, "push_messages", listen)
    return tasks


def groups_in(arrays: dict[str, list[str]]) -> set[str]:
    return {key.removeprefix(GLOBAL) for key in arrays if key.startswith(GLOBAL)}


def records(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


def final(out: Path) -> dict[str, torch.Tensor]:
    return load_file(out / "release" / "generator.safetensors")


def lose_state(consortium: Any) -> None:
    for path in consortium.root.glob("sites/*/work/state"):
        path.rename(path.with_name(f"lost-{len(list(path.parent.glob('lost-*')))}"))


def test_a_site_knows_what_is_shared_every_domain_and_its_own_lesions() -> None:
    domains = with_twins((Domain("a", Sequence.T1), Domain("b", Sequence.T2)))
    assert known_groups("a", domains) == {"shared", "domain/a:T1", "domain/b:T2", "domain/a:T1:lesion"}


def test_a_message_carries_what_the_site_may_know_and_nothing_unchanged_twice(
    consortium: Any, tiny: SimpleNamespace, sent: Any
) -> None:
    consortium.run(tiny.make_study())
    first, second = ([groups_in(arrays) for node, arrays in sent if node == 3][n] for n in (0, 1))
    assert first == {"shared", "domain/a:T1", "domain/a:T2", "domain/b:T2", "domain/b:T2:lesion"}
    assert second == {"shared", "domain/a:T1", "domain/a:T2", "domain/b:T2"}  # nobody trains twins here
    assert len(sent) == 2 * 3  # one message a site a round


def test_the_models_of_earlier_stages_go_to_a_site_once(consortium: Any, tiny: SimpleNamespace, sent: Any) -> None:
    rounds = "rounds = 2\nlocal_steps = 1"
    consortium.run(
        tiny.make_study(stages__generator=rounds, stages__synthesiser=rounds, stages__segmenter=rounds),
    )
    carried = [[key for key in arrays if key.startswith(EARLIER)] for node, arrays in sent if node == 2]
    assert carried == [[], [], ["earlier/generator"], [], ["earlier/synthesiser"], []]


def test_norms_of_its_own_a_site_is_sent_once_to_begin_the_stage_with(
    consortium: Any, tiny: SimpleNamespace, sent: Any
) -> None:
    def build(*arguments: Any) -> torch.nn.Module:
        model: torch.nn.Module = tiny.build(*arguments)
        model.LOCAL_NORMS = ("trunk.bias",)
        return model

    def strike(event: Any) -> None:
        if isinstance(event, RoundFinished) and event.round == 2:
            for path in consortium.root.glob("sites/b/work/state"):
                path.rename(path.with_name("lost"))

    bench = Bench(build, tiny.linear_step(), torch.device("cpu"))
    result = consortium.run(tiny.make_study(wire=CODED["int8"], gate="norm_limit = 0"), bench=bench, on_event=strike)
    assert result.status == "complete" and result.faults == ()
    with_norms = [["norms" in groups_in(arrays) for node, arrays in sent if node == site] for site in (2, 3)]
    assert with_norms == [[True, False, False], [True, False, False, True]]


@pytest.mark.parametrize("damage", ["lost", "changed"])
def test_a_site_whose_disk_failed_says_so_and_is_sent_the_rest_in_the_same_round(
    damage: str, consortium: Any, tiny: SimpleNamespace, sent: Any
) -> None:
    rounds = "rounds = 2\nlocal_steps = 1"
    study = tiny.make_study(stages__generator=rounds, stages__synthesiser=rounds)
    undisturbed = consortium.run(study, where="undisturbed")
    lose_state(consortium)
    sent.clear()

    def strike(event: Any) -> None:
        if isinstance(event, RoundFinished) and event.stage == "synthesiser" and event.round == 1:
            for path in consortium.root.glob("sites/a/work/state/*/held/*"):
                path.unlink() if damage == "lost" else path.write_bytes(b"\0" + path.read_bytes()[1:])

    result = consortium.run(study, where="struck", on_event=strike)
    assert result.status == "complete" and result.faults == ()
    assert [node for node, _ in sent].count(2) == 4 + 1 and [node for node, _ in sent].count(3) == 4
    if damage == "lost":
        lacking = {"global/domain/a:T1:lesion", "global/domain/a:T2:lesion", "earlier/generator"}
        assert set(sent[-1][1]) == lacking  # what had changed the first message brought
    assert all(torch.equal(final(result.out)[n], tensor) for n, tensor in final(undisturbed.out).items())
    first, second = records(result.out)[2:]
    assert second["sites"]["a"]["bytes_down"] > first["sites"]["a"]["bytes_down"]  # both messages are counted


def test_a_resumed_round_does_not_send_again_what_a_site_says_that_it_holds(
    consortium: Any, tiny: SimpleNamespace, sent: Any
) -> None:
    class PowerCutError(Exception):
        pass

    def strike(event: Any) -> None:
        if isinstance(event, SiteAnswered) and (event.round, event.site) == (2, "a"):
            raise PowerCutError

    study = tiny.make_study()
    with pytest.raises(PowerCutError):
        consortium.run(study, on_event=strike)
    sent.clear()
    assert consortium.run(study, resume=True).status == "complete"
    node, arrays = sent[0]  # `a`, whose update was accepted when the power failed, is not asked again
    assert node == 3 and groups_in(arrays) == {"shared", "domain/a:T1", "domain/a:T2", "domain/b:T2"}


def test_a_site_holds_one_state_and_no_more(consortium: Any, tiny: SimpleNamespace) -> None:
    rounds = "rounds = 4\nlocal_steps = 1"
    consortium.run(tiny.make_study(stages__generator=rounds, stages__synthesiser=rounds))
    held = list(consortium.root.glob("sites/b/work/state/*/held/*"))
    assert len(held) == 1 + 5  # the released generator; shared, three images, its own twin


LONG = "rounds = 8\nlocal_steps = 3\nema_decay = 0.0"


@pytest.fixture(scope="module")
def exact(parts: SimpleNamespace, tmp_path_factory: pytest.TempPathFactory) -> RunResult:
    """What a lossless wire learns."""
    result: RunResult = parts.two_sites(tmp_path_factory.mktemp("exact")).run(parts.make_study(stages__generator=LONG))
    return result


@pytest.mark.parametrize("name", ["bf16", "int8"])
def test_a_coded_wire_learns_what_a_lossless_one_does(
    name: str, exact: RunResult, consortium: Any, tiny: SimpleNamespace
) -> None:
    coded = consortium.run(tiny.make_study(stages__generator=LONG, wire=CODED[name]))
    begun = records(exact.out)[0]["metrics"]["training.loss"]
    ends = [records(each.out)[-1]["metrics"]["training.loss"] for each in (exact, coded)]
    assert abs(ends[0] - ends[1]) < 0.02 * begun and ends[1] < 0.5 * begun
    for tensor_name, tensor in final(exact.out).items():
        assert torch.allclose(final(coded.out)[tensor_name].double(), tensor.double(), atol=0.02)


@pytest.fixture(scope="module", params=["bf16", "int8"])
def coded(
    request: pytest.FixtureRequest, parts: SimpleNamespace, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Study, dict[str, torch.Tensor]]:
    """A study over each coded wire, and what its run leaves that nothing interrupts."""
    study = parts.make_study(stages__generator="rounds = 4\nlocal_steps = 2", wire=CODED[request.param])
    return study, final(parts.two_sites(tmp_path_factory.mktemp("undisturbed")).run(study).out)


@pytest.mark.parametrize("struck", [RoundStarted, SiteAnswered])
def test_a_repeated_round_sends_the_same_bytes_and_makes_good_no_rounding_twice(
    coded: tuple[Study, dict[str, torch.Tensor]], struck: type, consortium: Any
) -> None:
    class PowerCutError(Exception):
        pass

    def strike(event: Any) -> None:
        if isinstance(event, struck) and event.round == 3 and getattr(event, "site", "b") == "b":
            raise PowerCutError

    study, undisturbed = coded
    with pytest.raises(PowerCutError):
        consortium.run(study, on_event=strike)
    resumed = final(consortium.run(study, resume=True).out)
    assert all(torch.equal(resumed[name], undisturbed[name]) for name in undisturbed)


def test_only_float32_weights_of_the_groups_that_were_sent_are_coded() -> None:
    state = {
        "w": torch.zeros(2),
        "count": torch.tensor(1),
        "double": torch.zeros(2, dtype=torch.float64),
        "private.w": torch.zeros(2),
        "statistics.mean": torch.zeros(2),
        "heads.a:T1.w": torch.zeros(2),
    }
    groups = ("shared", "statistics", "local")
    assert coding_of(declare(state), groups, "int8", Grouping(("private.",))) == {"w": "int8"}
    assert coding_of(declare(state), groups, "lossless", Grouping(("private.",))) == {}


def test_an_update_in_another_coding_than_the_studys_is_refused() -> None:
    state = {"w": torch.zeros(300)}
    down = Downlink(state, Wire(up="int8"), PLAIN)
    for record, code in (
        (pack_tensors(state), "wrong-coding"),
        (pack_tensors(state, {"w": "bf16"}), "wrong-coding"),
        (pack_tensors({"w": torch.zeros(301)}, {"w": "int8"}), "wrong-shape"),
        (pack_tensors({}, {}), "missing-tensor"),
    ):
        with pytest.raises(WireError) as refusal:
            down.read_update(record, declare(state), {"shared"})
        assert refusal.value.code == code
    with pytest.raises(WireError) as refusal:
        Downlink(state, Wire(), PLAIN).read_update(pack_tensors(state, {"w": "int8"}), declare(state), {"shared"})
    assert refusal.value.code == "wrong-dtype"


def test_what_a_coded_downlink_rounded_off_does_not_come_back_as_an_update() -> None:
    master = {"w": torch.tensor([1.0001, -0.3, 7.77])}
    down = Downlink(master, Wire(down="bf16"), PLAIN)
    received = {"w": master["w"].to(torch.bfloat16).float()}
    assert not torch.equal(received["w"], master["w"])
    untrained = down.read_update(pack_tensors(received), declare(master), {"shared"})
    assert torch.equal(untrained["w"], master["w"])
