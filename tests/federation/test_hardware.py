"""What a site says about its machine changes how it trains, never what it sends."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from client.training.accumulation import Term, minimise
from client.training.update import Counted
from common.parameters import SHARED
from common.sequences import Sequence


@dataclass(frozen=True)
class Pixels:
    """B numbers to be doubled, (B, 1)."""

    x: Tensor


class PartedStep:
    """Learns to double, through `minimise`; knows how many rows went through its model, and in which precision."""

    seen: list[tuple[int, bool]]

    def __init__(self, model: Any) -> None:
        self.model = model
        self.optimisers: Mapping[str, torch.optim.Optimizer] = {
            "all": torch.optim.SGD(model.trunk.parameters(), lr=0.1)
        }

    def draw(self, generator: torch.Generator) -> Pixels:
        return Pixels(torch.randn(5, 1, generator=generator))

    def __call__(self, batch: Pixels) -> dict[str, float]:
        return minimise(self._terms, batch, self.optimisers["all"])

    def _terms(self, batch: Pixels) -> dict[str, Term]:
        self.seen.append((len(batch.x), torch.are_deterministic_algorithms_enabled()))
        return {"loss": Term((self.model.trunk(batch.x) - 2 * batch.x).square().mean())}

    def evaluate(self, store: Any) -> dict[str, Counted]:
        return {}

    def patients(self) -> dict[str, int]:
        return {SHARED: 2}

    def behind(self) -> dict[str, int]:
        return {}


def trained(tiny: SimpleNamespace, hardware: str) -> tuple[bytes, list[tuple[int, bool]]]:
    """Run two rounds at a site with `hardware` lines in its site.toml; return the global weights and what was seen."""
    consortium = replace(tiny.consortium, root=tiny.consortium.root / str(abs(hash(hardware))), sites={})
    consortium.add("a", 2, [Sequence.T1])
    file = consortium.sites["a"]
    file.write_text(f"{file.read_text()}[hardware]\n{hardware}\n")
    seen: list[tuple[int, bool]] = []
    step = type("Watched", (PartedStep,), {"seen": seen})
    builder = lambda stage: lambda model, *others: step(model)  # noqa: E731
    study = tiny.make_study(sites=["a"], stages__generator="rounds = 2\nlocal_steps = 3")
    result = consortium.run(study, bench=replace(tiny.bench, step_builder=builder))
    result.require_complete()
    return (result.out / "rounds/generator/2/global.safetensors").read_bytes(), seen


def test_drawing_ahead_sends_the_same_bytes(tiny: SimpleNamespace) -> None:
    assert trained(tiny, 'prefetch = "on"') == trained(tiny, 'prefetch = "off"')


def test_a_small_memory_splits_every_batch_of_every_round(tiny: SimpleNamespace) -> None:
    _, whole = trained(tiny, "")
    _, parted = trained(tiny, "micro_batch = 2")
    assert [rows for rows, _ in whole] == [5] * 6
    assert [rows for rows, _ in parted] == [2, 2, 1] * 6


def test_a_cpu_trains_by_deterministic_algorithms_alone(tiny: SimpleNamespace) -> None:
    _, seen = trained(tiny, "")
    assert all(deterministic for _, deterministic in seen)
    assert not torch.are_deterministic_algorithms_enabled()
