"""A release's own networks under every sampler and number of steps, on phantoms that they have never seen."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from client.inference.models import open_models
from common.errors import ReleaseError
from common.files import write_whole
from common.release import Release, load_release
from common.settings.stages import Stage
from simulations.ablations.feature_encoder import train_encoder
from simulations.ablations.phantoms import open_phantoms, scenario_of
from simulations.ablations.records import Trial, read_records, recall_or_measure
from simulations.ablations.run import COHORT, COHORT_SEED_OFFSET
from simulations.ablations.synthesis_arms import SAMPLERS, Contestant, measure_contestant
from simulations.ablations.tables import tables
from simulations.comparison.subject import Pencil

PART = "samplers"
NEEDED = (Stage.GENERATOR, Stage.SYNTHESISER, Stage.SEGMENTER, Stage.IDENTIFIER)


@dataclass(frozen=True)
class SamplerSettings:
    """What to compare.

    Attributes:
        release: folder of the release.
        out: folder for phantoms, results and `samplers.md`.
        patients: phantoms a site; half of them are measured, the others train the encoder.
        workers: processes that draw and prepare phantoms.
    """

    release: Path
    out: Path
    patients: int
    workers: int = 1


def compare_samplers(settings: SamplerSettings, advance: Callable[[int, int], None]) -> str:
    """Measure every sampler on the release's networks; return the table as Markdown, also left in `<out>/samplers.md`.

    Raises:
        ReleaseError: the release lacks a stage that drawing or judging needs, or was changed.
        StudyError: `out` holds other phantoms.
        DataError: a phantom could not be prepared.
    """
    release = load_release(settings.release)
    if missing := [stage.value for stage in NEEDED if stage not in release.stages]:
        raise ReleaseError(f"{release.path}: holds no {', '.join(missing)}; train a study with these stages")
    data = release.study.data.model_copy(update={"holdout_fraction": 0.5})  # the release has seen none of them
    study = release.study.model_copy(update={"data": data})
    advance(0, len(SAMPLERS))
    scenario, seed = scenario_of(COHORT, settings.patients), COHORT_SEED_OFFSET + study.seed
    phantoms = open_phantoms(study, scenario, settings.out / "cohort", seed, settings.workers, _silent)
    encoder = train_encoder(phantoms.sites, study.sequences, study.seed)
    contestant = _contestant(release)
    for row, sampling in enumerate(SAMPLERS):
        arm = f"{sampling[0]}, {sampling[1]}"
        trial = Trial(PART, row, arm, study.seed, f"{release.short} {settings.patients}")
        chosen = contestant.sampling(*sampling)
        recall_or_measure(settings.out, trial, partial(measure_contestant, chosen, phantoms.subjects, encoder))
        advance(row + 1, len(SAMPLERS))
    measured = [record for record in read_records(settings.out) if record.trial.part == PART]
    text = f"Release {release.digest}\n\n{tables(measured)}"
    write_whole(settings.out / "samplers.md", text.encode())
    return text


def _contestant(release: Release) -> Contestant:
    models, identifier = open_models(release), release.study.stages.identifier
    if models.synthesiser is None or models.identifier is None or models.segmenter is None or identifier is None:
        raise ReleaseError(f"{release.path}: holds networks of another kind than its stages")
    domains = tuple(domain for domain in models.domains if not domain.lesion)
    return Contestant(
        study=release.study,
        synthesiser=models.synthesiser,
        identifier=models.identifier,
        segmenter=models.segmenter,
        pencil=Pencil(models.generator, domains, release.study.reference_site),
        contrastive=identifier.contrastive,
    )


def _silent(done: int, total: int) -> None:
    """Hear nothing."""
