"""Two hundred hospitals before one coordinator: how its memory and its time go with their number.

The coordinator, the messages, the gate, the journal and the aggregation are the real ones, and so is the network: the
generator at `tiny`. The hospitals' ClientApp is the real one too; only their training is replaced by a little noise,
for it is not what is measured. They work one after another in the coordinator's process, which therefore also holds one
of them at a time. A few of them own a domain each; the others train what all share, so that the model is the same size
whatever their number.
"""

from __future__ import annotations

import copy
import json
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

import torch
from torch import nn

from client.app import make_app
from client.data.dataset import CaseStore
from client.training.tasks import Bench
from client.training.trainer import TrainingStep
from client.training.update import Counted
from client.training.workplace import Workplace
from common.nets.stage_models import build_model
from common.parameters import DOMAIN_PREFIX, SHARED
from common.sequences import Domain, Sequence
from common.settings.stages import Stage
from common.study import Study, parse_study
from simulations.chaos.arithmetic import open_cached, write_site
from simulations.environment import quieten_flower
from simulations.federation import run_federation

OWNERS = 10
"""Hospitals that own a domain; with fewer hospitals, all of them."""

ROUNDS = 3
NOISE = 1e-3


@dataclass(frozen=True)
class Crowd:
    """What one run cost.

    Attributes:
        sites, rounds: its size.
        update_mb: bytes of one update.
        peak_mb: most memory that the process ever held (VmHWM).
        seconds: of the processor, for the run from its beginning to its release.
    """

    sites: int
    rounds: int
    update_mb: float
    peak_mb: float
    seconds: float


class NoiseStep:
    """Instead of training, moves every parameter a little."""

    def __init__(self, model: nn.Module, place: Workplace) -> None:
        self.model, self._place = model, place
        self.optimisers: Mapping[str, torch.optim.Optimizer] = {}

    def draw(self, generator: torch.Generator) -> torch.Generator:
        """Return the generator that the noise comes from."""
        return generator

    def __call__(self, batch: torch.Generator) -> dict[str, float]:
        """Move the model."""
        with torch.no_grad():
            for parameter in self.model.parameters():
                parameter.add_(torch.randn(parameter.shape, generator=batch), alpha=NOISE)
        return {"loss": 0.0}

    def evaluate(self, store: CaseStore) -> dict[str, Counted]:
        """Return nothing: nobody is held out."""
        return {}

    def patients(self) -> dict[str, int]:
        """Return the patients behind each group."""
        count = len(self._place.store.patients())
        own = [domain for domain in self._place.domains if domain.site == self._place.site_name]
        return {SHARED: count} | {DOMAIN_PREFIX + domain.key: count for domain in own}

    def behind(self) -> dict[str, int]:
        """Return the patients behind each loss."""
        return {"loss": len(self._place.store.patients())}


def _noise_step(stage: Stage) -> Callable[[nn.Module, Workplace], TrainingStep]:
    return NoiseStep


@cache
def _built(study: Study, domains: tuple[Domain, ...]) -> nn.Module:
    return build_model(Stage.GENERATOR, study, domains, torch.Generator().manual_seed(study.seed))


def _build(stage: Stage, study: Study, domains: tuple[Domain, ...], generator: torch.Generator) -> nn.Module:
    """Return a copy of the one network, which would otherwise be built anew for every message."""
    return copy.deepcopy(_built(study, domains))


def crowd_study(sites: int) -> Study:
    """Return a study of `sites` hospitals and the generator's rounds."""
    names = [f"site-{number:03d}" for number in range(sites)]
    return parse_study(
        f'name = "crowd"\nsites = {json.dumps(names)}\nreference_site = "{names[0]}"\nsequences = ["T1"]\n'
        f"[data]\nholdout_fraction = 0.0\n[federation]\nquorum = {sites}\n[reporting]\nminimum_count = 1\n"
        f"[stages.generator]\nrounds = {ROUNDS}\nlocal_steps = 1\nbatch_size = 1\n"
    )


def write_crowd(study: Study, folder: Path) -> dict[str, Path]:
    """Write the study's hospitals, the first of which hold a sequence of it, and return the file of each."""
    return {
        site: write_site(folder / site, site, sequences=(Sequence.T1,) if number < OWNERS else (Sequence.T2,))
        for number, site in enumerate(study.sites)
    }


def measure_here(sites: int, folder: Path) -> Crowd:
    """Run the crowd in this process, which must have done nothing else."""
    study = crowd_study(sites)
    files = write_crowd(study, folder)
    began = time.process_time()
    client = make_app(open_cached, Bench(_build, _noise_step, torch.device("cpu")))
    result = run_federation(study, files, folder / "run", client=client, build=_build)
    result.require_complete()
    seconds = time.process_time() - began
    weights = folder / "run" / "release" / "generator.safetensors"
    return Crowd(sites, ROUNDS, round(weights.stat().st_size / 1e6, 2), round(_peak_mb(), 1), round(seconds, 1))


def _peak_mb() -> float:
    """Return the most memory that this process held; `getrusage` would count what its parent held when it forked."""
    lines = Path("/proc/self/status").read_text("ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) / 1024


def measure(sites: int, folder: Path) -> Crowd:
    """Run the crowd in a process of its own, for a process's peak never falls again."""
    done = subprocess.run(
        [sys.executable, "-m", "simulations.chaos.crowd", str(sites), str(folder)],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    return Crowd(**json.loads(done.stdout.splitlines()[-1]))


if __name__ == "__main__":
    quieten_flower()
    torch.set_num_threads(1)
    sys.stdout.write(json.dumps(asdict(measure_here(int(sys.argv[1]), Path(sys.argv[2])))) + "\n")
