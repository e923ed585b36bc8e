"""One case's outputs on the disk, in native space: whole, sealed with what they were made from, or not there at all."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from client.data.cache import CachedCase
from client.data.catalog import CatalogCase
from client.data.preprocessing import PrepareSettings, digest_of
from client.inference.assemble import assemble, origins, shared_facts, write_assembly
from client.inference.case_sheet import write_case_sheet
from client.inference.complete_case import complete_case
from client.inference.completion import Completion
from client.inference.models import ReleasedModels
from client.inference.native import open_native
from common.errors import GliofedError
from common.files import write_whole
from common.release import Release
from common.study import code_version

DONE = "complete.json"


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


@dataclass(frozen=True)
class Job:
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


def finished(job: Job, case: CatalogCase) -> CompletedCase | None:
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


def complete_one(job: Job, case: CatalogCase, cached: CachedCase, models: ReleasedModels) -> CompletedCase:
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
    job: Job, case: CatalogCase, cached: CachedCase, models: ReleasedModels, folder: Path
) -> dict[str, Any]:
    """Write all outputs of a case into `folder`; return what `bbb.json` says."""
    completion = complete_case(cached, job.release, job.site, models, job.sampling_steps)
    assembly = assemble(case, cached, completion, job.release, open_native(case, cached))
    write_assembly(folder, assembly, completion, job.release)
    bbb = _bbb_json(completion, job.release)
    write_whole(folder / "bbb.json", (json.dumps(bbb, indent=1, sort_keys=True) + "\n").encode())
    write_case_sheet(folder / "sheet.png", case.case, assembly, completion, job.release)
    return bbb


def _bbb_json(completion: Completion, release: Release) -> dict[str, Any]:
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
