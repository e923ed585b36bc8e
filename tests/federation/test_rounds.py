"""The loop over the real ServerApp and ClientApp: who contributes, what counts, how a run ends."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from client.site import Site
from client.training.tasks import Bench
from common.errors import DataError, FederationError, StudyError
from common.sequences import Sequence
from common.settings.stages import Stage
from common.study import Study
from server.events import RoundStarted, SiteProgress, StageFinished
from simulations.grid import InProcessGrid

T1, T2 = Sequence.T1, Sequence.T2
ONE_ROUND = "rounds = 1\nlocal_steps = 3"


def weights(out: Path, stage: str = "generator", number: int = 1) -> dict[str, torch.Tensor]:
    return load_file(out / "rounds" / stage / str(number) / "global.safetensors")


def records(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


def initial(tiny: SimpleNamespace, study: Study, out: Path) -> dict[str, torch.Tensor]:
    """The weights that the seed gives: what a group keeps that nobody trains."""
    from common.plan import Plan
    from common.seeding import torch_generator

    plan = Plan.model_validate_json((out / "plan.json").read_text())
    generator = torch_generator(study.seed, "initial", "generator")
    return tiny.build(Stage.GENERATOR, study, plan.domains(study), generator).state_dict()


def failing(tiny: SimpleNamespace, names: set[str], error: Exception) -> Callable[[Path, Study], Site]:
    """Open sites as ever, but break the training of some."""

    def opener(path: Path, study: Study) -> Site:
        site: Site = tiny.open_cached(path, study)
        if site.name in names:
            object.__setattr__(site, "training", _Broken(error))
        return site

    return opener


class _Broken:
    def __init__(self, error: Exception) -> None:
        self.error = error
        self.cases = ()

    def patients(self, *_: Any) -> dict[str, list[int]]:
        raise self.error

    draw = patients


def test_a_run_leaves_plan_study_records_metrics_and_a_release(consortium: Any, tiny: SimpleNamespace) -> None:
    result = consortium.run(tiny.make_study())
    out = result.out
    assert result.status == "complete" and result.faults == ()
    for name in ("study.toml", "plan.json", "metrics.jsonl", "run.json", "release/release.json"):
        assert (out / name).is_file()
    assert [record["round"] for record in records(out)] == [1, 2, 3]
    assert not (out / "journal" / "spool").exists()
    kept = sorted(path.parent.name for path in out.glob("rounds/generator/*/global.safetensors"))
    assert kept == ["2", "3"]


def test_a_site_that_holds_only_t2_moves_the_trunk_and_its_own_head(consortium: Any, tiny: SimpleNamespace) -> None:
    study = tiny.make_study(sites=["a", "b"], stages__generator=ONE_ROUND)
    out = consortium.run(study).out
    (record,) = records(out)
    assert sorted(record["sites"]["b"]["patients"]) == ["domain/b:T2", "shared"]
    alone = consortium.run(tiny.make_study(sites=["b"], stages__generator=ONE_ROUND), out="alone").out
    before, after, of_b = initial(tiny, study, out), weights(out), weights(alone)
    assert not torch.equal(after["heads.b:T2.weight"], before["heads.b:T2.weight"])
    assert torch.equal(before["heads.b:T2:lesion.weight"], after["heads.b:T2:lesion.weight"])
    assert not torch.equal(after["trunk.weight"], of_b["trunk.weight"])


def test_groups_that_nobody_trained_local_tensors_and_counters_keep_their_values(
    consortium: Any, tiny: SimpleNamespace
) -> None:
    study = tiny.make_study()
    out = consortium.run(study).out
    before, after = initial(tiny, study, out), weights(out, number=3)
    for name in ("heads.a:T1:lesion.weight", "heads.b:T2:lesion.bias", "private.weight", "private.bias", "seen"):
        assert torch.equal(before[name], after[name]), name
    assert not torch.equal(before["heads.a:T1.weight"], after["heads.a:T1.weight"])


def test_the_trunk_is_the_mean_of_what_the_sites_sent_weighted_by_patients(tiny: SimpleNamespace) -> None:
    tiny.consortium.add("a", 3, [T1]).add("b", 1, [T1], shift=0.2)
    study = tiny.make_study(stages__generator=ONE_ROUND)

    def sent_by(site: str, other: str) -> torch.Tensor:
        """A round in which the other site fails is what this site sent."""
        opener = failing(tiny, {other}, DataError("no"))
        return weights(tiny.consortium.run(study, where=f"only-{site}", opener=opener).out)["trunk.weight"].double()

    both = weights(tiny.consortium.run(study).out)
    assert torch.equal(both["trunk.weight"], ((3 * sent_by("a", "b") + sent_by("b", "a")) / 4).float())


def test_a_federation_of_identical_sites_equals_one_site(tiny: SimpleNamespace) -> None:
    """Each site has one case of one grey, so that nothing is left for its own seed to draw."""
    for name in ("a", "b", "c"):
        tiny.consortium.add(name, 1, [T1])
    bench = Bench(tiny.build, tiny.linear_step(heads=False), torch.device("cpu"))
    one = weights(tiny.consortium.run(tiny.make_study(["a"]), out="one", bench=bench).out, number=3)
    three = weights(tiny.consortium.run(tiny.make_study(["a", "b", "c"]), out="three", bench=bench).out, number=3)
    assert torch.equal(one["trunk.weight"], three["trunk.weight"]) and torch.equal(
        one["trunk.bias"], three["trunk.bias"]
    )


def test_neither_the_order_of_sites_nor_of_arrival_shows_in_the_bytes(
    consortium: Any, tiny: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    forth = weights(consortium.run(tiny.make_study(["a", "b"]), where="forth").out, number=3)
    pull = InProcessGrid.pull_messages
    monkeypatch.setattr(InProcessGrid, "pull_messages", lambda grid, ids: pull(grid, reversed(list(ids))))
    back = weights(consortium.run(tiny.make_study(["b", "a"]), where="back").out, number=3)
    assert all(torch.equal(forth[name], back[name]) for name in forth)


def test_a_stage_starts_from_the_released_weights_of_the_one_before(consortium: Any, tiny: SimpleNamespace) -> None:
    seen: dict[tuple[str, str], torch.Tensor] = {}

    def builder(stage: Stage) -> Any:
        def build_step(model, place):
            for earlier, network in place.frozen.items():
                assert not network.training and not any(p.requires_grad for p in network.parameters())
                seen[(stage.value, earlier.value)] = network.state_dict()["trunk.weight"].clone()
            return tiny.linear_step()(stage)(model, place)

        return build_step

    study = tiny.make_study(stages__generator=ONE_ROUND, stages__synthesiser=ONE_ROUND, stages__segmenter=ONE_ROUND)
    bench = Bench(tiny.build, builder, torch.device("cpu"))
    out = consortium.run(study, bench=bench).out
    assert set(seen) == {("synthesiser", "generator"), ("segmenter", "generator"), ("segmenter", "synthesiser")}
    released = load_file(out / "release" / "generator.safetensors")
    assert torch.equal(seen[("segmenter", "generator")], released["trunk.weight"])


def test_a_site_with_nothing_to_train_sits_the_stage_out_and_that_is_no_failure(
    consortium: Any, tiny: SimpleNamespace
) -> None:
    bench = Bench(tiny.build, tiny.linear_step(lambda store: len(store.cases) > 2), torch.device("cpu"))
    asked: list[tuple[str, ...]] = []
    study = tiny.make_study(federation="quorum = 2")
    result = consortium.run(
        study, bench=bench, on_event=lambda e: asked.append(e.sites) if isinstance(e, RoundStarted) else None
    )
    assert result.status == "complete" and result.faults == ()
    assert asked == [("a", "b"), ("a",), ("a",)]
    assert [record["sat_out"] for record in records(result.out)] == [["b"]] * 3


def test_a_stage_that_no_site_can_train_ends_the_run_as_failed(consortium: Any, tiny: SimpleNamespace) -> None:
    bench = Bench(tiny.build, tiny.linear_step(lambda store: False), torch.device("cpu"))
    result = consortium.run(tiny.make_study(), bench=bench)
    assert result.status == "failed" and "leave the stage out" in str(result.reason)


def test_a_failed_site_is_named_with_its_code_and_the_round_goes_on(consortium: Any, tiny: SimpleNamespace) -> None:
    result = consortium.run(tiny.make_study(), opener=failing(tiny, {"b"}, DataError("patient-7 broke")))
    assert result.status == "complete"
    assert {(fault.site, fault.code) for fault in result.faults} == {("b", "data")}
    assert [fault.round for fault in result.faults] == [1, 2, 3]


def test_text_of_an_error_never_leaves_the_site(consortium: Any, tiny: SimpleNamespace) -> None:
    secret = "/scans/MUELLER_HANS_1950/t1.nii.gz"
    for number, error in enumerate((ValueError(secret), DataError(secret), OSError(2, "none", secret))):
        result = consortium.run(tiny.make_study(), where=str(number), opener=failing(tiny, {"b"}, error))
        said = "".join(path.read_text(errors="replace") for path in result.out.rglob("*") if path.is_file())
        assert "MUELLER" not in said and "MUELLER" not in repr(result)
        assert result.faults[0].site == "b"


def test_a_round_below_the_quorum_ends_the_run_as_incomplete_and_nothing_of_it_counts(
    consortium: Any, tiny: SimpleNamespace
) -> None:
    study = tiny.make_study(federation="quorum = 2")
    result = consortium.run(study, opener=failing(tiny, {"b"}, DataError("no")))
    assert result.status == "incomplete" and result.release is None
    assert not (result.out / "rounds").exists() and not (result.out / "release").exists()
    assert json.loads((result.out / "run.json").read_text())["status"] == "incomplete"
    with pytest.raises(FederationError, match=r"b: data \(generator round 1\)"):
        result.require_complete()


def test_a_run_without_a_required_site_is_incomplete(consortium: Any, tiny: SimpleNamespace) -> None:
    study = tiny.make_study(federation='required = ["b"]')
    result = consortium.run(study, opener=failing(tiny, {"b"}, DataError("no")))
    assert result.status == "incomplete" and "lacks b" in str(result.reason)


def test_a_run_that_nobody_contributes_to_is_failed(consortium: Any, tiny: SimpleNamespace) -> None:
    result = consortium.run(tiny.make_study(), opener=failing(tiny, {"a", "b"}, DataError("no")))
    assert result.status == "failed"


def test_a_site_that_cannot_be_opened_is_named_and_the_plan_goes_without_it(
    consortium: Any, tiny: SimpleNamespace
) -> None:
    def opener(path: Path, study: Study) -> Site:
        if path.parent.name == "b":
            raise DataError("empty")
        site: Site = tiny.open_cached(path, study)
        return site

    result = consortium.run(tiny.make_study(), opener=opener)
    assert result.status == "complete"
    assert [str(fault) for fault in result.faults] == ["b: data (inventory)"]
    assert [entry["site"] for entry in json.loads((result.out / "plan.json").read_text())["inventory"]] == ["a"]


def test_a_site_that_has_not_approved_the_study_says_so(consortium: Any, tiny: SimpleNamespace) -> None:
    def opener(path: Path, study: Study) -> Site:
        if path.parent.name == "b":
            raise AssertionError("a site that approved nothing is not opened")
        site: Site = tiny.open_cached(path, study)
        return site

    text = consortium.sites["b"].read_text()
    consortium.sites["b"].write_text(text.replace("approve_everything = true", ""))
    result = consortium.run(tiny.make_study(federation='required = ["b"]'), opener=opener)
    assert result.status == "incomplete" and result.faults[0].code == "not-approved"


def test_a_round_past_its_deadline_names_the_late_site(
    consortium: Any, tiny: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = {"now": 0.0}
    monkeypatch.setattr("server.exchange.time.monotonic", lambda: clock["now"])

    def slow(event: Any) -> None:
        if isinstance(event, SiteProgress) and event.site == "a":
            clock["now"] += 100.0

    result = consortium.run(
        tiny.make_study(federation="deadline_s = 250.0", stages__generator=ONE_ROUND), on_event=slow
    )
    assert [str(fault) for fault in result.faults] == ["b: late (generator round 1)"]


def test_one_site_alone_is_a_federation_too(consortium: Any, tiny: SimpleNamespace) -> None:
    result = consortium.run(tiny.make_study(["a"]))
    assert result.status == "complete" and list(records(result.out)[0]["sites"]) == ["a"]


def test_a_study_with_a_site_that_has_no_folder_is_refused(consortium: Any, tiny: SimpleNamespace) -> None:
    with pytest.raises(StudyError, match="no folder for c"):
        consortium.run(tiny.make_study(["a", "c"]))


def test_progress_is_heard_step_by_step(consortium: Any, tiny: SimpleNamespace) -> None:
    heard: list[Any] = []
    consortium.run(tiny.make_study(stages__generator=ONE_ROUND), on_event=heard.append)
    steps = [(event.site, event.step, event.steps) for event in heard if isinstance(event, SiteProgress)]
    assert steps == [(site, step, 3) for site in ("a", "b") for step in (1, 2, 3)]
    assert any(isinstance(event, StageFinished) for event in heard)


def test_bytes_of_a_round_are_what_the_tensors_weigh(consortium: Any, tiny: SimpleNamespace) -> None:
    (record,) = records(consortium.run(tiny.make_study(stages__generator=ONE_ROUND)).out)
    text = len('{"site":"b"')
    assert 4 * 4 < record["sites"]["b"]["bytes_up"] - 4 * 4 - text < 400  # trunk and one head: four float32 numbers
    assert record["sites"]["b"]["bytes_down"] > record["sites"]["b"]["bytes_up"]


def test_mean_metrics_are_weighted_by_patients() -> None:
    from server.round.record import mean_metrics

    sites = {
        "a": {"code": "ok", "patients": {"shared": 3}, "metrics": {"training.loss": 1.0}},
        "b": {"code": "ok", "patients": {"shared": 1, "domain/b:T1": 1}, "metrics": {"training.loss": 5.0}},
        "c": {"code": "late"},
    }
    assert mean_metrics(sites) == {"training.loss": 2.0}
