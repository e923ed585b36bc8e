"""Hospitals that learn in a millisecond: constant slices, and a network of a few numbers with a head for each domain.

What is proved with them is about messages, files and restarts, not about pictures: all of the platform between the
scans and the networks is the real one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import numpy as np
import torch
from torch import nn

from client.config import load_site
from client.data.cache import LabelKind, open_case, write_case
from client.data.dataset import CaseStore, SliceBatch
from client.site import Site, site_of
from client.training.tasks import Bench
from client.training.trainer import TrainingStep
from client.training.update import Counted
from client.training.workplace import Workplace
from common.parameters import DOMAIN_PREFIX, SHARED
from common.sequences import Domain, Sequence
from common.settings.stages import Stage
from common.study import Study, parse_study

SIZE = 4
SEQUENCES = (Sequence.T1, Sequence.T1GD, Sequence.FLAIR)


class Arithmetic(nn.Module):
    """y = head_d(trunk(x))."""

    def __init__(self, domains: tuple[Domain, ...]) -> None:
        super().__init__()
        self.trunk = nn.Linear(1, 1)
        self.heads = nn.ModuleDict({domain.key: nn.Linear(1, 1) for domain in domains})

    def forward(self, mean: torch.Tensor, domain: Domain) -> torch.Tensor:
        """Return what head `domain` makes of the means (B, 1)."""
        drawn: torch.Tensor = self.heads[domain.key](self.trunk(mean))
        return drawn


def build_arithmetic(stage: Stage, study: Study, domains: tuple[Domain, ...], generator: torch.Generator) -> nn.Module:
    """Return the network of every stage, its first weights drawn from `generator`."""
    model = Arithmetic(domains)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.rand(parameter.shape, generator=generator))
    return model


class ArithmeticStep:
    """Learns that the mean grey of a slice of sequence d, doubled, comes out of head d."""

    def __init__(self, model: nn.Module, place: Workplace) -> None:
        self.model, self._place = model, place
        self._own = [domain for domain in place.domains if domain.site == place.site_name and not domain.lesion]
        self.optimisers: Mapping[str, torch.optim.Optimizer] = {"all": torch.optim.Adam(model.parameters(), lr=0.05)}

    def draw(self, generator: torch.Generator) -> SliceBatch:
        """Draw two slices."""
        return self._place.store.draw(2, generator)

    def __call__(self, batch: SliceBatch) -> dict[str, float]:
        """Move by one step."""
        loss = torch.zeros(())
        for domain in self._own:
            rows = batch.present[domain.sequence]
            if bool(rows.any()):
                mean = batch.images[domain.sequence][rows].mean((1, 2, 3))[:, None]
                loss = loss + (self.model(mean, domain) - 2 * mean).square().mean()
        for optimiser in self.optimisers.values():
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
        return {"loss": float(loss.detach())}

    def evaluate(self, store: CaseStore) -> dict[str, Counted]:
        """Return nothing: nobody is held out."""
        return {}

    def patients(self) -> dict[str, int]:
        """Return the patients behind each group."""
        count = len(self._place.store.patients())
        return {SHARED: count} | {DOMAIN_PREFIX + domain.key: count for domain in self._own}

    def behind(self) -> dict[str, int]:
        """Return the patients behind each loss."""
        return {"loss": len(self._place.store.patients())}


def arithmetic_step(stage: Stage) -> Callable[[nn.Module, Workplace], TrainingStep]:
    """Return what builds the step of any stage."""
    return ArithmeticStep


BENCH = Bench(build_model=build_arithmetic, step_builder=arithmetic_step, device=torch.device("cpu"))


def arithmetic_study(sites: tuple[str, ...], rounds: int = 2) -> Study:
    """Return a study of two stages, `rounds` each, to which every site must contribute."""
    names = ", ".join(f'"{site}"' for site in sites)
    stage = f"rounds = {rounds}\nlocal_steps = 2\nema_decay = 0.5\n"
    return parse_study(
        f'name = "arithmetic"\nsites = [{names}]\nreference_site = "{sites[0]}"\n'
        f"[federation]\nquorum = {len(sites)}\n[data]\nholdout_fraction = 0.0\n"
        f"[stages.generator]\n{stage}[stages.synthesiser]\n{stage}[reporting]\nminimum_count = 1\n"
    )


def write_site(
    folder: Path,
    name: str,
    patients: int = 2,
    sequences: Iterable[Sequence] = SEQUENCES,
    shift: float = 0.0,
    minimum: int = 1,
) -> Path:
    """Write a hospital of constant slices below `folder`, its cases prepared, and return its `site.toml`.

    Args:
        folder: of the hospital.
        name: its name.
        patients: how many; each has one case, brighter than the one before.
        sequences: that every patient holds.
        shift: added to all its greys.
        minimum: patients that its policy asks for.
    """
    held = tuple(sequences)
    for number in range(patients):
        grey = 0.1 * (number + 1) + shift
        arrays = {sequence.value: np.full((3, SIZE, SIZE), grey, dtype=np.float32) for sequence in held}
        arrays["brain"] = np.ones((3, SIZE, SIZE), dtype=np.uint8)
        arrays["labels"] = np.zeros((3, SIZE, SIZE), dtype=np.uint8)
        facts = {
            "case": f"case-{number}",
            "patient": f"patient-{number}",
            "sequences": [sequence.value for sequence in held],
            "label_kind": LabelKind.NONE.value,
            "bbb_disrupted": None,
            "affine": np.eye(4).tolist(),
            "native": {},
            "greys": {sequence.value: {"centre": 100.0 + number, "deviation": 20.0} for sequence in held},
        }
        write_case(folder / "work" / "cache" / f"{number}.safetensors", arrays, facts)
    (folder / "scans").mkdir(parents=True, exist_ok=True)
    path = folder / "site.toml"
    path.write_text(
        f'name = "{name}"\nfolder = "scans"\nworkdir = "work"\n'
        f"[policy]\nminimum_patients = {minimum}\napprove_everything = true\n"
    )
    return path


def open_cached(path: Path, study: Study) -> Site:
    """Open a hospital from its prepared cases alone."""
    config = load_site(path)
    cases = [open_case(file) for file in sorted((config.workdir / "cache").glob("*.safetensors"))]
    return site_of(config.name, config.workdir, config.policy, cases, study, config.hardware)
