"""A federation small enough to check by hand: a linear model with a head per domain, and sites of constant slices."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from collections.abc import Sequence as Seq
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from simulations.environment import quieten_flower

quieten_flower()

from client.app import make_app  # noqa: E402
from client.data.dataset import CaseStore, SliceBatch  # noqa: E402
from client.site import Site  # noqa: E402
from client.training.tasks import Bench  # noqa: E402
from client.training.trainer import NothingToTrainError  # noqa: E402
from client.training.update import Counted  # noqa: E402
from common.parameters import DOMAIN_PREFIX, SHARED  # noqa: E402
from common.sequences import Domain, Sequence  # noqa: E402
from common.settings.stages import Stage  # noqa: E402
from common.study import Study, parse_study  # noqa: E402
from server.events import Listener, ignore  # noqa: E402
from server.result import RunResult  # noqa: E402
from simulations.chaos.arithmetic import open_cached, write_site  # noqa: E402
from simulations.federation import run_federation  # noqa: E402
from tests.toys import build_linear  # noqa: E402

SIZE = 4
TIMES = ("seconds", "bytes_down")
"""What a resumed run may differ in: it also sends less, where a site holds what an interrupted round had sent."""


class LinearStep:
    """Learns that the mean grey of a slice of sequence d, doubled, comes out of head d."""

    def __init__(
        self, model: nn.Module, study: Study, site: str, store: CaseStore, trains: Callable[..., bool], heads: bool
    ) -> None:
        self.model, self.study, self.store, self.heads = model, study, store, heads
        self.own = [Domain(site, sequence) for sequence in study.sequences if Domain(site, sequence).key in model.heads]
        if not self.own or not trains(store):
            raise NothingToTrainError("nothing here")
        self.optimisers: Mapping[str, torch.optim.Optimizer] = {"all": torch.optim.Adam(model.parameters(), lr=0.05)}

    def draw(self, generator: torch.Generator) -> SliceBatch:
        return self.store.draw(2, generator)

    def __call__(self, batch: SliceBatch) -> dict[str, float]:
        loss = self._loss(batch)
        for optimiser in self.optimisers.values():
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        self.model.seen += 1
        return {"loss": float(loss.detach())}

    def _loss(self, batch: SliceBatch) -> torch.Tensor:
        total = torch.zeros(())
        for domain in self.own:
            rows = batch.present[domain.sequence]
            if bool(rows.any()):
                mean = batch.images[domain.sequence][rows].mean((1, 2, 3))[:, None]
                seen = self.model.trunk(mean)
                drawn = self.model.heads[domain.key](seen) if self.heads else seen
                total = total + (drawn - 2 * mean).square().mean()
        return total + 0.01 * self.model.private(torch.ones(1)).square().sum()

    def evaluate(self, store: CaseStore) -> dict[str, Counted]:
        if not store.cases:
            return {}
        batch = store.take([(index, 0) for index in range(len(store.cases))])
        return {"loss": Counted(float(self._loss(batch).detach()), len(store.patients()))}

    def patients(self) -> dict[str, int]:
        counts = {SHARED: len(self.store.patients())}
        for domain in self.own if self.heads else []:
            counts[DOMAIN_PREFIX + domain.key] = len(
                self.store.patients(lambda case, d=domain: d.sequence in case.sequences)
            )
        return {group: count for group, count in counts.items() if count}

    def behind(self) -> dict[str, int]:
        return {"loss": len(self.store.patients())}


def linear_step(trains: Callable[..., bool] = lambda store: True, heads: bool = True) -> Callable[[Stage], Any]:
    def builder(stage: Stage) -> Any:
        def build_step(model, place):
            return LinearStep(model, place.study, place.site_name, place.store, trains, heads)

        return build_step

    return builder


LINEAR = Bench(build_model=build_linear, step_builder=linear_step(), device=torch.device("cpu"))


def make_study(sites: Seq[str] = ("a", "b"), **changes: Any) -> Study:
    """A study over `sites`; `changes` are lines per table, e.g. federation="quorum = 2"."""
    tables = {
        "data": "holdout_fraction = 0.0",
        "federation": "",
        "stages.generator": "rounds = 3\nlocal_steps = 3\nema_decay = 0.5",
        "reporting": "minimum_count = 1",
    } | {key.replace("__", "."): value for key, value in changes.items()}
    text = f'name = "tiny"\nsites = {list(sites)}\nreference_site = "{sites[0]}"\n'.replace("'", '"')
    return parse_study(text + "".join(f"[{table}]\n{lines}\n" for table, lines in tables.items() if lines is not None))


@dataclass
class Consortium:
    """Sites on disk and the way to run a study over them."""

    root: Path
    sites: dict[str, Path] = field(default_factory=dict)

    def add(self, name: str, patients: int, sequences: Seq[Sequence], **more: Any) -> Consortium:
        self.sites[name] = write_site(self.root / "sites" / name, name, patients, sequences, **more)
        return self

    def run(
        self,
        study: Study,
        out: str = "run",
        resume: bool = False,
        on_event: Listener = ignore,
        bench: Bench = LINEAR,
        opener: Callable[[Path, Study], Site] = open_cached,
        where: str = ".",
    ) -> RunResult:
        client = make_app(opener, bench)
        return run_federation(
            study,
            self.sites,
            self.root / where / out,
            resume=resume,
            on_event=on_event,
            client=client,
            build=bench.build_model,
        )


def fingerprint(result: RunResult) -> dict[str, str]:
    """SHA-256 of the release, of the checkpoints that are kept, and the metrics without their times."""
    files = [path for folder in ("release", "rounds") for path in (result.out / folder).rglob("*.safetensors")]
    files += [result.out / "release" / "release.json", result.out / "plan.json", result.out / "study.toml"]
    found = {str(path.relative_to(result.out)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
    lines = [
        json.loads(line, object_pairs_hook=_timeless)
        for line in (result.out / "metrics.jsonl").read_text().splitlines()
    ]
    return found | {"metrics": json.dumps(lines, sort_keys=True)}


def _timeless(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    return {key: value for key, value in pairs if key not in TIMES}


def two_sites(root: Path) -> Consortium:
    """Two sites: `a` holds T1 and T2 of three patients, `b` holds T2 of two."""
    return Consortium(root).add("a", 3, [Sequence.T1, Sequence.T2]).add("b", 2, [Sequence.T2], shift=0.3)


@pytest.fixture
def consortium(tmp_path: Path) -> Consortium:
    """`two_sites`."""
    return two_sites(tmp_path)


@pytest.fixture(scope="session")
def parts() -> SimpleNamespace:
    """What the tests build with: studies, the linear bench and its parts."""
    return SimpleNamespace(
        consortium_at=Consortium,
        two_sites=two_sites,
        make_study=make_study,
        bench=LINEAR,
        linear_step=linear_step,
        build=build_linear,
        open_cached=open_cached,
        write_site=write_site,
        fingerprint=fingerprint,
    )


@pytest.fixture
def tiny(parts: SimpleNamespace, tmp_path: Path) -> SimpleNamespace:
    """An empty consortium, and `parts`."""
    return SimpleNamespace(consortium=Consortium(tmp_path), **vars(parts))
