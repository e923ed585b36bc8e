"""The patients of a run that are measured: completed as their hospital would, and paired with their truth."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Any

from client.config import SiteConfig, load_site
from client.data.preprocessing import PrepareSettings
from client.inference.complete import complete_folder
from client.inference.completed_case import CompletedCase
from client.inference.identify import BbbResult
from common.errors import DataError
from common.release import IdentifierFacts
from common.sequences import Sequence
from simulations.comparison.identification import Decision, compare_identification
from simulations.comparison.subject import Subject
from simulations.comparison.truth import Truth
from simulations.consortium import Advance, Consortium, advance_from
from simulations.report.measures import Identification

Results = dict[tuple[str, str], BbbResult]
"""BBB results by site and case."""


def complete_patients(
    consortium: Consortium, files: Mapping[str, Path], run: Path, workers: int, failures: list[str], advance: Advance
) -> Results:
    """Complete every evaluated patient from the hospital's own folder into `<run>/completed/<site>/<case>/`.

    What cannot be completed is added to `failures`; the others are.
    """
    wanted = {name: {case.case for case in consortium.evaluated(name)} for name in consortium.sites}
    total, done = 2 * sum(map(len, wanted.values())), 0
    results: Results = {}
    for name, path in files.items():
        if not wanted[name]:
            failures.append(f"{name}: no patient is held out, so none is completed or measured")
            continue
        listen = partial(advance_from, done, total, advance)
        completed, problems = _complete_site(load_site(path), wanted[name], run, workers, listen)
        results |= {(name, each.case): result_of(each.bbb) for each in completed}
        failures += problems
        done += 2 * len(wanted[name])
    return results


def _complete_site(
    config: SiteConfig, cases: set[str], run: Path, workers: int, on_case: Advance
) -> tuple[list[CompletedCase], list[str]]:
    """Complete `cases` of one site; a bad case costs none of the others, those done already are found as they are."""
    out = run / "completed" / config.name
    complete = partial(complete_folder, config.folder, run / "release", out, site=config, workers=workers)
    try:
        return complete(only=cases, on_case=on_case), []
    except DataError:
        completed: list[CompletedCase] = []
        problems = []
        for case in sorted(cases):
            try:
                completed += complete(only={case})
            except DataError as error:
                problems.append(f"{config.name}: {case}: not completed: {error}")
        return completed, problems


def result_of(bbb: Mapping[str, Any]) -> BbbResult:
    """Return the result that `bbb.json` tells."""
    names = [field.name for field in fields(BbbResult) if field.name != "slices"]
    return BbbResult(**{name: bbb[name] for name in names}, slices=bbb["slices_used"])


def find_subjects(
    consortium: Consortium,
    truth: Truth | None,
    sequences: Iterable[Sequence],
    settings: PrepareSettings,
    cache: Path,
    workers: int,
    failures: list[str],
) -> list[Subject]:
    """Return the evaluated patients.

    Of a phantom's truth the `sequences` are prepared into `cache`, as its hospital prepares its scans.
    """
    subjects = []
    for name in consortium.sites:
        cases = consortium.evaluated(name)
        true = {case.case: case for case in cases}
        if truth is not None:
            true, problems = truth.prepare(name, list(true), sequences, settings, cache, workers)
            failures += problems
        subjects += [Subject(name, case, true[case.case]) for case in cases if case.case in true]
    return subjects


def identify(
    subjects: Iterable[Subject], results: Results, truth: Truth | None, facts: IdentifierFacts | None
) -> Identification | None:
    """Compare the completed patients' BBB status with the true one, where it is known; None without an identifier."""
    if facts is None:
        return None
    decisions = [
        Decision(
            site=subject.site,
            disrupted=subject.truth.bbb_disrupted,
            result=results[subject.site, subject.own.case],
            latent=truth.latent(subject.site, subject.own.case) if truth else None,
        )
        for subject in subjects
        if subject.truth.bbb_disrupted is not None and (subject.site, subject.own.case) in results
    ]
    return compare_identification(decisions, truth.ceiling if truth else None, facts)
