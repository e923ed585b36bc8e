"""FedBN: each site keeps its norms, sends them, never gets them back, and the release carries their mean."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from flwr.app import Message
from safetensors.torch import load_file
from torch import nn

from client.training.tasks import Bench
from common.nets.norms import norm_tensors
from common.nets.segmenter import Segmenter
from common.nets.stage_models import build_model
from common.nets.ummgat import Ummgat
from common.parameters import grouping_of
from common.parcel import unwrap
from common.records import GLOBAL
from common.seeding import torch_generator
from common.sequences import Domain, Sequence, with_twins
from common.settings.stages import Stage
from common.study import Study
from server.events import RoundFinished
from simulations.federation import run_federation
from simulations.grid import InProcessGrid

T1 = Sequence.T1
FEDBN = "local_norms = true"


def normed(model: nn.Module) -> nn.Module:
    """The toy model with a norm of its own behind the trunk; its private layer stays."""
    model.norm = nn.LayerNorm(1)  # type: ignore[assignment]
    model.LOCAL_NORMS = norm_tensors(model)  # type: ignore[assignment]
    return model


@pytest.fixture
def play(tiny: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a function that runs two sites under FedBN, and the names that each message carried down, in order."""
    tiny.consortium.add("a", 3, [T1]).add("b", 1, [T1], shift=0.4)
    down: list[set[str]] = []
    deliver = InProcessGrid._deliver

    def listening(grid: InProcessGrid, message: Message) -> Message:
        if message.metadata.message_type == "train":
            arrays = [record for key, record in unwrap(message.content).items() if key.startswith(GLOBAL)]
            down.append({name for record in arrays for name in record})
        return deliver(grid, message)

    def build(stage: Stage, study: Study, domains: tuple[Domain, ...], generator: torch.Generator) -> nn.Module:
        return normed(tiny.build(stage, study, domains, generator))

    def builder(stage: Stage) -> Any:
        def build_step(model: nn.Module, place: Any) -> Any:
            step = tiny.linear_step()(stage)(model, place)
            loss = step._loss
            step._loss = lambda batch: loss(batch) + (model.norm.bias - batch.images[T1].mean()).square().sum()
            return step

        return build_step

    from client.app import make_app

    monkeypatch.setattr(InProcessGrid, "_deliver", listening)

    def run(where: str = ".", resume: bool = False, on_event: Any = lambda event: None) -> Any:
        client = make_app(tiny.open_cached, Bench(build, builder, torch.device("cpu")))
        study = tiny.make_study(["a", "b"], aggregation=FEDBN)
        out = tiny.consortium.root / where / "run"
        return run_federation(
            study, tiny.consortium.sites, out, resume=resume, on_event=on_event, client=client, build=build
        )

    return SimpleNamespace(run=run, down=down, root=tiny.consortium.root)


def own_norms(root: Path, site: str, number: int) -> torch.Tensor:
    (path,) = root.glob(f"sites/{site}/work/state/*/generator/{number}.local.safetensors")
    return load_file(path)["norm.bias"]


def test_norms_go_down_in_the_first_round_alone_and_up_in_every_one(play: Any) -> None:
    out = play.run().out
    first, later = play.down[:2], play.down[2:]
    assert all("norm.bias" in names for names in first) and len(later) == 4
    assert not any("norm.bias" in names for names in later) and not any("private.weight" in n for n in play.down)
    for line in (out / "metrics.jsonl").read_text().splitlines():
        assert all("norms" in entry["patients"] for entry in json.loads(line)["sites"].values())


def test_sites_differ_and_the_global_norm_is_their_mean_by_patients(play: Any) -> None:
    out = play.run().out
    a, b = (own_norms(play.root, site, 3).double() for site in "ab")
    assert not torch.equal(a, b)
    after = load_file(out / "rounds" / "generator" / "3" / "global.safetensors")["norm.bias"]
    assert torch.equal(after, ((3 * a + b) / 4).float())
    assert "norm.bias" in load_file(out / "release" / "generator.safetensors")


def test_a_site_that_lost_its_norms_gets_the_consortiums_and_goes_on(play: Any) -> None:
    def forget(event: Any) -> None:
        if isinstance(event, RoundFinished) and event.round == 1:
            for path in play.root.glob("sites/b/work/state/*/generator/*"):
                path.unlink()

    result = play.run(on_event=forget)
    assert result.status == "complete" and result.faults == ()
    assert sum("norm.bias" in names for names in play.down) == 3


def test_a_cut_run_resumes_to_the_same_bytes(play: Any) -> None:
    whole = play.run("whole")
    for path in play.root.glob("sites/*/work/state"):
        path.rename(path.with_name("state-of-the-whole-run"))

    def strike(event: Any) -> None:
        if isinstance(event, RoundFinished) and event.round == 2:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        play.run("cut", on_event=strike)
    assert play.run("cut", resume=True).release_digest == whole.release_digest


def test_every_network_says_which_norms_it_has(tiny: SimpleNamespace) -> None:
    stages = {"stages__synthesiser": "", "stages__segmenter": "", "stages__identifier": ""}
    study = tiny.make_study(["a", "b"], aggregation=FEDBN, **stages)
    domains = with_twins((Domain("a", T1), Domain("b", T1)))
    found = {}
    for stage in (Stage.GENERATOR, Stage.SYNTHESISER, Stage.SEGMENTER, Stage.IDENTIFIER):
        model = build_model(stage, study, domains, torch_generator(1, stage.value))
        names = grouping_of(model).norms
        assert names <= set(model.state_dict()) and names == norm_tensors(model)
        found[stage] = names
    # AdaIN's scale and shift come from the style through a linear layer that all share; plain norms are the encoder's
    assert all(".encode." in name and not name.endswith("affine.weight") for name in found[Stage.GENERATOR])
    assert found[Stage.GENERATOR] and all("norm" in name for name in found[Stage.SYNTHESISER] | found[Stage.SEGMENTER])
    assert found[Stage.IDENTIFIER] == {f"net.{layer}.{name}" for layer in (1, 4, 7) for name in ("weight", "bias")}


def test_running_statistics_count_as_norms_and_networks_without_any_have_none() -> None:
    net = nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2))
    own = {"weight", "bias", "running_mean", "running_var", "num_batches_tracked"}
    assert norm_tensors(net) == {f"1.{name}" for name in own}
    assert norm_tensors(Ummgat(with_twins((Domain("a", T1),)), "tiny").discriminator) == frozenset()
    assert norm_tensors(Segmenter()) != frozenset()


def test_without_fedbn_no_norm_is_a_sites_own(tiny: SimpleNamespace) -> None:
    model = build_model(Stage.SEGMENTER, tiny.make_study(), (), torch_generator(1, "x"))
    assert grouping_of(model).norms == frozenset()
