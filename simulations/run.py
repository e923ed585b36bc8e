"""The main job: train a consortium on one machine, release, complete its patients, measure, and report."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from client.data.preprocessing import PrepareSettings
from common import console
from common.errors import StudyError
from common.nets.stage_models import build_model
from common.release import Release, load_release
from common.study import Study, load_study
from server.continuation import continuing
from server.first_weights import read_first_weights
from server.result import RunResult
from simulations.cohort import cohort_of, draw_phantoms
from simulations.comparison.cross_fit import open_cross_fit
from simulations.comparison.evaluation import Evaluation, evaluate
from simulations.comparison.subject import Subject
from simulations.comparison.truth import Truth, read_truth
from simulations.consortium import Consortium, open_consortium, prepare_sites, write_site_files
from simulations.evaluated import complete_patients, find_subjects, identify
from simulations.federation import Engine, run_federation
from simulations.progress import training_progress
from simulations.report.build import build_summary
from simulations.report.facts import Stopwatch, contract_facts, stage_facts
from simulations.report.page import write_page
from simulations.report.summary import Summary, write_summary
from simulations.scale import SCALES, ScaleName, scaled


@dataclass(frozen=True)
class RunSettings:
    """What to run.

    Attributes:
        study: path of a study.toml; `<stem>.cohort.toml` beside it describes the phantoms.
        out: the run's folder.
        sites: folder that holds `<site>/` with scans, or `<site>.toml`, for each site; None makes phantoms. The
            `sites` folder of a phantom cohort is known as such, and measured against its truth.
        engine: where the sites run.
        resume: go on with the run in `out`.
        scale: multiples of rounds and patients.
        patients: phantom patients a site; None as the cohort says.
        seed: of the phantoms; None as the study says.
        identifier_weights: file of the identifier's first weights, where the study names one.
        start_from: folder of the release that the generator goes on from, where the study names one.
        workers: processes that make and prepare cases, and processors for the sites (`federation.at_work`).
    """

    study: Path
    out: Path
    sites: Path | None = None
    engine: Engine = "in-process"
    resume: bool = False
    scale: ScaleName = "tiny"
    patients: int | None = None
    seed: int | None = None
    identifier_weights: Path | None = None
    start_from: Path | None = None
    workers: int = 1


def run(settings: RunSettings) -> Summary:
    """Train, release, complete, measure; leave `summary.json` and `report.html` in the run's folder.

    Raises:
        StudyError: study, sites and folder do not fit together.
        DataError: a site has no usable case.
        FederationError: the run did not reach its quorum.
    """
    watch, out, resumed = Stopwatch(), settings.out, _goes_on(settings)
    study = _open_study(settings)
    with watch.phase("phantom"):
        truth = find_truth(settings, study)
    files = write_site_files(study, settings.sites or out / "phantom" / "sites", out / "sites")
    with watch.phase("preparation"), console.progress("preparing cases") as advance:
        failures = prepare_sites(files, study, settings.workers, advance)
    with watch.phase("training"):
        ended = _train(settings, study, files)
    release, consortium = load_release(out / "release"), open_consortium(files, study)
    with watch.phase("completion"), console.progress("completing patients") as advance:
        results = complete_patients(consortium, files, out, settings.workers, failures, advance)
    with watch.phase("evaluation"):
        subjects, evaluation = _measure(settings, release, consortium, truth, failures)
    summary = build_summary(
        release,
        consortium,
        evaluation,
        identify(subjects, results, truth, release.manifest.identifier),
        kind="real" if truth is None else "synthetic phantom",
        scale=settings.scale,
        engine=settings.engine,
        contract=contract_facts(ended),
        stages=stage_facts(out / "metrics.jsonl", release),
        failures=tuple(failures),
        cost=watch.cost(resumed=resumed),
    )
    write_summary(out / "summary.json", summary)
    write_page(out / "report.html", summary, evaluation.gallery, evaluation.styles, release.assessment())
    return summary


def _goes_on(settings: RunSettings) -> bool:
    """Return whether there is a run to go on with. Raises StudyError where the settings do not fit together."""
    if settings.sites is not None and (settings.patients, settings.seed) != (None, None):
        raise StudyError("--patients and --seed are of phantoms that are drawn; leave them out beside --sites")
    begun = (settings.out / "plan.json").is_file()
    if begun and not settings.resume:
        raise StudyError(
            f"{settings.out}: holds a run already; give --resume to go on with it, or choose another folder"
        )
    return begun


def _open_study(settings: RunSettings) -> Study:
    """Return the study at its scale, once the weights that it names were found, before hours are spent on phantoms."""
    study = scaled(load_study(settings.study), SCALES[settings.scale])
    read_first_weights(study, settings.identifier_weights)
    continuing(build_model, study, settings.start_from)
    return study


def _train(settings: RunSettings, study: Study, files: Mapping[str, Path]) -> RunResult:
    """Train and release. Raises FederationError where the run did not end complete."""
    with training_progress(study) as listen:
        ended = run_federation(
            study,
            files,
            settings.out,
            settings.engine,
            settings.resume,
            listen,
            settings.workers,
            identifier_weights=settings.identifier_weights,
            start_from=settings.start_from,
        )
        ended.require_complete()
    return ended


def _measure(
    settings: RunSettings, release: Release, consortium: Consortium, truth: Truth | None, failures: list[str]
) -> tuple[list[Subject], Evaluation]:
    """Hold the release against what its patients really look like; who cannot be measured is added to `failures`."""
    study, cache, training = release.study, settings.out / "evaluation" / "cache", consortium.training()
    cross_fit = open_cross_fit(settings.out, release, training)
    prepare = PrepareSettings.of(study)
    subjects = find_subjects(consortium, truth, study.sequences, prepare, cache, settings.workers, failures)
    with console.progress("measuring") as advance:
        evaluation = evaluate(
            release, subjects, training, held_out=consortium.held_out, advance=advance, cross_fit=cross_fit
        )
    return subjects, evaluation


def find_truth(settings: RunSettings, study: Study) -> Truth | None:
    """Return the truth of the phantoms that are drawn here, or whose site folders were given; None for real scans."""
    if settings.sites is not None:
        cohort = settings.sites.resolve().parent
        return read_truth(cohort) if (cohort / "cohort.json").is_file() else None
    scenario = cohort_of(settings.study, study, SCALES[settings.scale], settings.patients)
    seed = study.seed if settings.seed is None else settings.seed
    with console.progress("drawing phantoms") as advance:
        return draw_phantoms(settings.out / "phantom", scenario, seed, settings.workers, advance)
