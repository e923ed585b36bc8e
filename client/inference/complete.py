"""Completing a folder of real cases with a release: every output in native space, whole or not at all."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Container
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from client.allocator import keep_freed_memory
from client.data.cache import CachedCase
from client.data.catalog import CatalogCase, scan_folder
from client.data.preprocessing import PrepareSettings, digest_of, prepare_cases
from client.inference.assemble import assemble, origins, shared_facts, write_assembly
from client.inference.case_sheet import write_case_sheet
from client.inference.completion import Completion, complete_case
from client.inference.models import ReleasedModels, open_models
from client.inference.native import open_native
from client.precision import computing_in
from common.errors import DataError, GliofedError
from common.files import write_whole
from common.release import Release, load_release
from common.study import code_version

if TYPE_CHECKING:
    from client.config import SiteConfig

__all__ = ["CompletedCase", "complete_case", "complete_folder"]

DONE = "complete.json"
CACHE = ".cache"


@dataclass(frozen=True)
class CompletedCase:
    """One case's outputs.

    Attributes:
        case: the case's name.
        folder: where its outputs lie.
        bbb: what `bbb.json` says.
        files: names of the outputs, sorted.
        skipped: they were there already, from the same input and release.
    """

    case: str
    folder: Path
    bbb: dict[str, Any]
    files: tuple[str, ...]
    skipped: bool


OnCase = Callable[[int, int], None]
"""(steps done, steps in all), where each case is two steps, preparation and completion: for a progress bar."""


@dataclass(frozen=True)
class _Job:
    """What is the same for all cases of a call."""

    release: Release
    site: str | None
    sampling_steps: int | None
    settings: PrepareSettings
    out: Path

    def key(self, case: CatalogCase) -> str:
        """Return the digest of all that a case's outputs depend on."""
        parts = [digest_of(case, self.settings), self.release.digest, self.site, self.sampling_steps, code_version()]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()

    def folder(self, case: str) -> Path:
        """Return the folder of a case's outputs."""
        return self.out / case.replace("/", "_")


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
    job = _Job(opened, name, sampling_steps, PrepareSettings.of(opened.study), out)
    cases = [case for case in scan_folder(folder_or_case, site).cases if only is None or case.case in only]
    completed = {case.case: done for case in cases if (done := _finished(job, case)) is not None}
    pending = {case.case: case for case in cases if case.case not in completed}
    failures: list[str] = []
    cache = out / CACHE if site is None else site.workdir / "cache"
    listen = on_case or (lambda done, total: None)
    if pending:
        before, steps = 2 * len(completed), 2 * len(cases)
        outcome = prepare_cases(
            list(pending.values()),
            job.settings,
            cache,
            workers=workers,
            on_case=lambda done, _: listen(before + done, steps),
        )
        failures += [f"{name}: {reason}" for name, reason in sorted(outcome.failures.items())]
        models = open_models(opened, wish="auto" if site is None else site.hardware.compile)
        keep_freed_memory()
        for number, cached in enumerate(outcome.cases, start=before + len(pending) + len(failures) + 1):
            try:
                with computing_in(opened.study.training.precision):
                    completed[cached.case] = _complete(job, pending[cached.case], cached, models)
            except (GliofedError, OSError) as error:
                failures.append(f"{cached.case}: {error}")
            listen(number, steps)
    if failures:
        listed = "\n".join(f"  {failure}" for failure in failures)
        raise DataError(
            f"{len(failures)} of {len(cases)} cases could not be completed, the others are in {out}:\n{listed}"
        )
    shutil.rmtree(out / CACHE, ignore_errors=True)
    return [completed[case.case] for case in cases]


def _finished(job: _Job, case: CatalogCase) -> CompletedCase | None:
    """Return the outputs of a case where they are there, whole, and made from what is there now."""
    folder = job.folder(case.case)
    try:
        seal = json.loads((folder / DONE).read_bytes())
        sizes = {name: (folder / name).stat().st_size for name in seal["files"]}
        bbb = json.loads((folder / "bbb.json").read_bytes())
        if seal["key"] != job.key(case) or sizes != seal["files"]:
            return None
    except (GliofedError, OSError, ValueError, KeyError, TypeError):
        return None
    return CompletedCase(case.case, folder, bbb, tuple(sorted(sizes)), skipped=True)


def _complete(job: _Job, case: CatalogCase, cached: CachedCase, models: ReleasedModels) -> CompletedCase:
    """Complete one case into a folder aside, seal it, and put it in its place."""
    key = job.key(case)
    final = job.folder(case.case)
    aside = final.with_name(f".{final.name}.part")
    try:
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir(parents=True)
        bbb = _write_outputs(job, case, cached, models, aside)
        sizes = {path.name: path.stat().st_size for path in sorted(aside.iterdir())}
        write_whole(aside / DONE, json.dumps({"key": key, "files": sizes}, indent=1, sort_keys=True).encode())
        shutil.rmtree(final, ignore_errors=True)
        aside.rename(final)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return CompletedCase(case.case, final, bbb, tuple(sizes), skipped=False)


def _write_outputs(
    job: _Job, case: CatalogCase, cached: CachedCase, models: ReleasedModels, folder: Path
) -> dict[str, Any]:
    """Write all outputs of a case into `folder`; return what `bbb.json` says."""
    completion = complete_case(cached, job.release, job.site, models, job.sampling_steps)
    assembly = assemble(case, cached, completion, job.release, open_native(case, cached))
    write_assembly(folder, assembly, completion, job.release)
    bbb = describe_bbb(completion, job.release)
    write_whole(folder / "bbb.json", (json.dumps(bbb, indent=1, sort_keys=True) + "\n").encode())
    write_case_sheet(folder / "sheet.png", case.case, assembly, completion, job.release)
    return bbb


def describe_bbb(completion: Completion, release: Release) -> dict[str, Any]:
    """Return the content of `bbb.json`; a probability stands there only where the release carries a calibration."""
    bbb = asdict(completion.bbb)
    facts = release.manifest.identifier
    return {
        **shared_facts(completion, release),
        "slices_used": bbb.pop("slices"),
        **bbb,
        "thresholds": None if facts is None else {"slice": facts.slice_threshold, "volume": facts.volume_threshold},
        "condition": origins(completion),
        "remarks": list(completion.remarks),
    }
