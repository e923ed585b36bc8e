"""All ablations over several seeds: phantoms, arms, figures, tables; what was done is found again."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from common.files import write_whole
from common.generative.samplers import Method
from common.study import Study, load_study
from simulations.ablations import generator_arms, synthesis_arms
from simulations.ablations.feature_encoder import FeatureEncoder, train_encoder
from simulations.ablations.phantoms import Phantoms, open_phantoms, scenario_of
from simulations.ablations.records import Figures, Trial, read_records, recall_or_measure
from simulations.ablations.tables import tables
from simulations.ablations.training import settings_key

PARTS = ("generator", "synthesis", "steps")
COHORT = "three-hospitals"
COHORT_SEED_OFFSET = 100
"""Phantoms are drawn with seeds that no demo uses, so that nothing was tuned on them."""


@dataclass(frozen=True)
class AblationSettings:
    """What to run.

    Attributes:
        study: path of the study that the arms change.
        out: folder for phantoms, weights, results and `tables.md`.
        seeds: 1 … `seeds`, each with phantoms and weights of its own.
        patients: phantoms a site.
        parts: which tables.
        workers: seeds at a time, one processor each.
    """

    study: Path
    out: Path
    seeds: int = 3
    patients: int = 22
    parts: tuple[str, ...] = PARTS
    workers: int = 1


def run_ablations(settings: AblationSettings, advance: Callable[[int, int], None]) -> str:
    """Train and measure every arm under every seed; return the tables as Markdown, also left in `<out>/tables.md`.

    Raises:
        StudyError: the study lacks a stage that an arm changes, or `out` holds other phantoms.
        DataError: a phantom could not be prepared.
    """
    seeds = range(1, settings.seeds + 1)
    advance(0, len(seeds))
    if settings.workers == 1:
        for number, seed in enumerate(seeds, start=1):
            run_seed(settings, seed)
            advance(number, len(seeds))
    else:
        spawn = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(min(settings.workers, len(seeds)), spawn) as pool:
            running = [pool.submit(run_seed, settings, seed) for seed in seeds]
            for number, done in enumerate(as_completed(running), start=1):
                done.result()
                advance(number, len(seeds))
    text = tables(read_records(settings.out))
    write_whole(settings.out / "tables.md", text.encode())
    return text


def run_seed(settings: AblationSettings, seed: int) -> None:
    """Train and measure every arm under one seed, on one thread."""
    import torch

    torch.set_num_threads(1)
    study = load_study(settings.study).model_copy(update={"seed": seed})
    scenario = scenario_of(COHORT, settings.patients)
    phantoms = open_phantoms(study, scenario, settings.out / str(seed), COHORT_SEED_OFFSET + seed, 1, _silent)
    encoder = train_encoder(phantoms.sites, study.sequences, seed)
    for trial, measure in _jobs(settings, study, phantoms, encoder):
        recall_or_measure(settings.out, trial, measure)


def _jobs(
    settings: AblationSettings, study: Study, phantoms: Phantoms, encoder: FeatureEncoder
) -> Iterator[tuple[Trial, Callable[[], Figures]]]:
    """Yield each trial, and how to measure it."""
    out = settings.out

    def trial(part: str, row: int, arm: str, changed: Study) -> Trial:
        return Trial(part, row, arm, study.seed, f"{settings_key(changed)} {settings.patients}")

    if "generator" in settings.parts:
        for row, (arm, changed) in enumerate(generator_arms.arms(study).items()):
            measure = partial(generator_arms.measure_arm, arm, study, phantoms, encoder, out, _silent)
            yield trial("generator", row, arm, changed), measure
    if not {"synthesis", "steps"} & set(settings.parts):
        return
    shared = synthesis_arms.train_shared(study, phantoms, out, _silent)

    def contest(name: str, sampling: tuple[Method, int] | None = None) -> Figures:
        contestant = synthesis_arms.train_contestant(name, study, phantoms, shared, out, _silent)
        if sampling is None:
            return synthesis_arms.measure_contestant(contestant, phantoms.subjects, encoder)
        few = synthesis_arms.first_of_each_site(phantoms.subjects)
        return synthesis_arms.measure_contestant(contestant.sampling(*sampling), few, encoder)

    if "synthesis" in settings.parts:
        for row, (name, left_out) in enumerate(synthesis_arms.ARMS.items()):
            yield trial("synthesis", row, name, synthesis_arms.arm_study(study, left_out)), partial(contest, name)
    if "steps" in settings.parts:
        full = synthesis_arms.FULL
        changed = synthesis_arms.arm_study(study, synthesis_arms.ARMS[full])
        for row, (sampler, steps) in enumerate(synthesis_arms.SAMPLERS):
            yield trial("steps", row, f"{sampler}, {steps}", changed), partial(contest, full, (sampler, steps))


def _silent(done: int, total: int) -> None:
    """Hear nothing."""
