"""Completing a folder of real cases with a release: every output in native space, whole or not at all."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Container, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from client.allocator import keep_freed_memory
from client.data.catalog import CatalogCase, scan_folder
from client.data.preprocessing import PrepareSettings, prepare_cases
from client.inference.completed_case import CompletedCase, Job, complete_one, finished
from client.inference.models import open_models
from client.precision import computing_in
from common.errors import DataError, GliofedError
from common.release import load_release

if TYPE_CHECKING:
    from client.config import SiteConfig

CACHE = ".cache"

OnCase = Callable[[int, int], None]
"""(steps done, steps in all), where each case is two steps, preparation and completion: for a progress bar."""


def complete_folder(
    folder_or_case: Path,
    release: Path,
    out: Path,
    *,
    site: SiteConfig | None = None,
    site_name: str | None = None,
    sampling_steps: int | None = None,
    workers: int = 1,
    on_case: OnCase | None = None,
    only: Container[str] | None = None,
) -> list[CompletedCase]:
    """Complete every case of a folder, or one case's folder.

    A case whose outputs are already there, whole, from the same input and release is left alone. A bad case does not
    stop the others.

    Args:
        folder_or_case: NIfTI in any layout that the catalog knows, or that `site` maps.
        release: the folder of the release, or of the run that made it.
        out: outputs go to `<out>/<case>/`; it may not lie inside the folder of scans.
        site: the site's settings; its cache is used.
        site_name: the site of the study whose pictures these are, by default that of `site`; one that the release
            does not know is completed as of an unknown centre.
        sampling_steps: DDIM steps, by default the study's.
        workers: processes that prepare cases.
        on_case: listens to progress.
        only: names of the cases to complete, all unless given.
    Raises:
        ReleaseError: the release is damaged.
        DataError: the folder cannot be read, or some cases failed; all others are complete then.
    """
    opened = load_release(release)
    if out.resolve().is_relative_to(folder_or_case.resolve()):
        raise DataError(f"{out}: lies inside the folder of scans, which is never written to; choose another --out")
    name = site_name or (site.name if site is not None else None)
    job = Job(opened, name, sampling_steps, PrepareSettings.of(opened.study), out)
    cases = [case for case in scan_folder(folder_or_case, site).cases if only is None or case.case in only]
    completed = {case.case: done for case in cases if (done := finished(job, case)) is not None}
    pending = {case.case: case for case in cases if case.case not in completed}
    failures: list[str] = []
    if pending:
        listen, before, steps = on_case or (lambda done, total: None), 2 * len(completed), 2 * len(cases)
        news, failures = _complete_all(job, pending, site, workers, lambda done: listen(before + done, steps))
        completed |= news
    if failures:
        listed = "\n".join(f"  {failure}" for failure in failures)
        raise DataError(
            f"{len(failures)} of {len(cases)} cases could not be completed, the others are in {out}:\n{listed}"
        )
    shutil.rmtree(out / CACHE, ignore_errors=True)
    return [completed[case.case] for case in cases]


def _complete_all(
    job: Job, cases: Mapping[str, CatalogCase], site: SiteConfig | None, workers: int, listen: Callable[[int], None]
) -> tuple[dict[str, CompletedCase], list[str]]:
    """Prepare and complete `cases`, by name; return those that are complete, and why each other one is not."""
    cache = job.out / CACHE if site is None else site.workdir / "cache"
    outcome = prepare_cases(
        list(cases.values()), job.settings, cache, workers=workers, on_case=lambda done, _: listen(done)
    )
    completed: dict[str, CompletedCase] = {}
    failures = [f"{name}: {reason}" for name, reason in sorted(outcome.failures.items())]
    models = open_models(job.release, wish="auto" if site is None else site.hardware.compile)
    keep_freed_memory()
    for number, cached in enumerate(outcome.cases, start=len(cases) + len(failures) + 1):
        try:
            with computing_in(job.release.study.training.precision):
                completed[cached.case] = complete_one(job, cases[cached.case], cached, models)
        except (GliofedError, OSError) as error:
            failures.append(f"{cached.case}: {error}")
        listen(number)
    return completed, failures
