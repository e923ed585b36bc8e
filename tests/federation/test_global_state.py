"""From accepted updates to the next state: what was not trained stays bit-identical, whatever rule and optimiser."""

from __future__ import annotations

import itertools
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from common.parameters import StateDict
from common.settings.aggregation import Aggregation
from server.aggregation.global_state import Aggregator, GlobalState
from server.aggregation.weighted import SpooledUpdate
from server.events import RoundFinished

RULES, OPTIMISERS = ["mean", "median", "trimmed-mean"], ["none", "momentum", "adam", "yogi"]
INITIAL: StateDict = {"trunk": torch.ones(2), "heads.a:T1.w": torch.full((2,), 0.1), "heads.b:T1.w": torch.ones(2)}


def aggregator(rule: str, optimiser: str) -> Aggregator:
    settings = Aggregation(rule=rule, server_optimiser=optimiser)
    return Aggregator(settings, cap=1000, ema_decay=0.5, steps=2, parameters=set(INITIAL))


def round_of(folder: Path, groups: dict[str, tuple[str, ...]], seed: int) -> list[SpooledUpdate]:
    """Site → names of the tensors that it sends."""
    generator, made = torch.Generator().manual_seed(seed), []
    for site, names in groups.items():
        path = folder / f"{site}-{seed}"
        save_file({name: torch.randn(2, generator=generator) for name in names}, path)
        patients = {"shared" if name == "trunk" else f"domain/{name.split('.')[1]}": 2 for name in names}
        made.append(SpooledUpdate(site, path, patients))
    return made


@pytest.mark.parametrize(("rule", "optimiser"), list(itertools.product(RULES, OPTIMISERS)))
def test_an_untrained_group_is_bit_identical_under_every_rule_and_optimiser(
    rule: str, optimiser: str, tmp_path: Path
) -> None:
    both = {"a": ("trunk", "heads.a:T1.w"), "b": ("trunk",), "c": ("trunk",)}
    how = aggregator(rule, optimiser)
    first = how.advance(GlobalState.first(INITIAL), round_of(tmp_path, both, 1))
    assert not torch.equal(first.tensors["heads.a:T1.w"], INITIAL["heads.a:T1.w"])
    second = how.advance(first, round_of(tmp_path, dict.fromkeys("abc", ("trunk",)), 2))
    assert not torch.equal(second.tensors["trunk"], first.tensors["trunk"])
    for name in ("heads.a:T1.w", "heads.b:T1.w"):
        assert torch.equal(second.tensors[name], first.tensors[name])
        assert torch.equal(second.average.tensors[name], first.average.tensors[name])
        moments = [key for key in first.moments if key.endswith(name)]
        assert all(torch.equal(first.moments[key], second.moments[key]) for key in moments)
    assert second.average.steps == {"shared": 4, "domain/a:T1": 2}
    assert torch.equal(second.tensors["heads.b:T1.w"], INITIAL["heads.b:T1.w"])


def test_a_group_with_too_few_sites_for_the_rule_stays_and_is_named(tmp_path: Path) -> None:
    how = aggregator("median", "momentum")
    updates = round_of(tmp_path, {"a": ("trunk", "heads.a:T1.w"), "b": ("trunk",)}, 1)
    state = how.advance(GlobalState.first(INITIAL), updates)
    assert how.refused(updates) == {"shared": 2}
    assert torch.equal(state.tensors["trunk"], INITIAL["trunk"]) and "first/trunk" not in state.moments
    assert state.average.steps == {"domain/a:T1": 2}


@pytest.mark.parametrize("lines", ['server_optimiser = "momentum"', 'server_optimiser = "yogi"', 'rule = "median"'])
def test_a_run_that_was_cut_resumes_to_the_same_bytes(lines: str, tiny: SimpleNamespace) -> None:
    from common.sequences import Sequence

    for number, name in enumerate("abc"):
        tiny.consortium.add(name, 2, [Sequence.T1], shift=0.1 * number)
    study = tiny.make_study(["a", "b", "c"], aggregation=lines)

    def strike(event: Any) -> None:
        if isinstance(event, RoundFinished) and event.round == 2:
            raise InterruptedError

    whole = tiny.consortium.run(study, where="whole")
    for path in tiny.consortium.root.glob("sites/*/work/state"):
        path.rename(path.with_name("state-of-the-whole-run"))
    with pytest.raises(InterruptedError):
        tiny.consortium.run(study, where="cut", on_event=strike)
    resumed = tiny.consortium.run(study, where="cut", resume=True)
    assert whole.status == "complete" and resumed.release_digest == whole.release_digest
